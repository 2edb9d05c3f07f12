"""How the page looks, and what it is forbidden to load or run."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2430; --soft: #5c6675; --line: #dfe3e8;
  --blue: #0072b2; --deep: #005a8d; --pale: #9ec9e2; --orange: #d55e00; --gray: #8c8c8c;
  --shade: #edf0f3; --main: #f0f6fa; --warn: #9c3d00; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --ink: #e6e9ee; --soft: #a3adba; --line: #343b45; --blue: #56b4e9;
    --deep: #7cc7f2; --pale: #39708f; --orange: #f0893c; --gray: #8b94a0; --shade: #262c34;
    --main: #1c2a36; --warn: #ffb27d; }
  img { filter: invert(1) hue-rotate(180deg) brightness(1.35); mix-blend-mode: lighten; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  sans-serif; overflow-wrap: anywhere; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
header { border-bottom: 1px solid var(--line); padding-bottom: 14px; }
p { margin: 0 0 10px; max-width: 78ch; }
h2 { font-size: 1.3rem; line-height: 1.25; margin: 44px 0 8px; }
h3 { font-size: 1.05rem; margin: 26px 0 8px; }
h4 { font-size: .85rem; font-weight: 600; color: var(--soft); margin: 0 0 6px; }
h1 { font-size: 1rem; color: var(--soft); font-weight: 600; margin: 0 0 6px; }
.who { color: var(--soft); margin: 10px 0 0; font-size: .9rem; }
.conclusion { font-size: clamp(1.45rem, 4.2vw, 2.3rem); line-height: 1.22; font-weight: 650;
  max-width: 34ch; margin: 2px 0 12px; }
.conclusion.yes { color: var(--deep); }
.sides { display: grid; gap: 4px 40px; margin: 0 0 14px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
.also { font-size: 1.2rem; line-height: 1.4; font-weight: 550; margin-top: 2px; }
.statement { font-size: .93rem; }
.part { border-top: 1px solid var(--line); margin-top: 44px; padding-top: 14px; color: var(--soft);
  max-width: none; }
.note { color: var(--soft); font-size: .9rem; margin-top: 10px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(155px, 1fr)); gap: 12px;
  margin: 20px 0 0; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.card p { margin: 0; font-size: .85rem; color: var(--soft); line-height: 1.35; }
.card .value { font-size: 1.6rem; font-weight: 650; color: var(--ink); }
.scroll { overflow-x: auto; margin: 12px 0; }
table { border-collapse: collapse; font-size: .92rem; min-width: 100%; }
th, td { text-align: left; padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
tbody th { font-weight: 400; min-width: 9.5em; }
thead th { font-size: .82rem; color: var(--soft); font-weight: 600; min-width: 5.2em;
  vertical-align: bottom; }
tr.main th, tr.main td { font-weight: 650; background: var(--main); }
.interval { color: var(--soft); font-weight: 400; font-size: .86em; white-space: nowrap; }
.figures { display: grid;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 20px; }
figure { margin: 0; max-width: 540px; }
.figures > figure { align-self: end; }
.wide { display: grid; gap: 20px; }
.wide figure { max-width: 860px; }
img, .drawing { width: 100%; height: auto; display: block; }
.label { fill: var(--soft); font-size: 13px; }
.label.name { fill: var(--ink); }
.axisline, .zero { stroke: var(--soft); stroke-width: 1; }
.zero { stroke: var(--ink); }
.grid { stroke: var(--line); stroke-width: 1; }
.bars { fill: var(--pale); }
.better { fill: var(--blue); }
.worse { fill: var(--orange); }
.same { fill: var(--gray); }
.group { stroke-width: 1.4; fill: var(--blue); fill-opacity: .65; }
.group.second { fill: var(--paper); stroke: var(--orange); }
.group.third { fill: var(--gray); }
.curve { stroke: var(--blue); stroke-width: 2; fill: none; }
.dashed { stroke-dasharray: 5 4; }
.band { fill: var(--blue); fill-opacity: .15; }
.cross { stroke: var(--ink); stroke-width: 2; }
circle:hover { stroke: var(--ink); stroke-width: 2; }
.features { font-size: .93rem; }
.ends p.text { white-space: pre-line; margin: 0; }
p.prompt { color: var(--soft); white-space: pre-line; }
figcaption { color: var(--soft); font-size: .85rem; }
details { margin: 14px 0; }
summary { cursor: pointer; color: var(--blue); }
.axis { border: 1px solid var(--line); border-radius: 8px; padding: 14px 18px 12px;
  margin: 14px 0; }
.axis h3 { margin: 0 0 6px; }
.share { font-weight: 400; color: var(--soft); font-size: .9rem; margin-left: .4em; }
.bar { height: 8px; background: var(--shade); border-radius: 4px; overflow: hidden; }
.bar div { height: 100%; background: var(--blue); }
.histogram { display: block; width: 100%; height: 44px; margin: 14px 0 4px;
  border-bottom: 1px solid var(--soft); }
.histogram rect { fill: var(--pale); }
.histogram line { stroke: var(--ink); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.ends { display: grid; grid-template-columns: 1fr 1fr; gap: 10px 32px; }
.plain li { padding: 6px 0; border-top: 1px solid var(--line); }
.plain li:first-letter { text-transform: uppercase; }
.ends ul, .plain { list-style: none; margin: 0; padding: 0; }
.ends .high h4 { text-align: right; }
.ends li { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 2px 14px;
  padding: 6px 0; border-top: 1px solid var(--line); font-size: .93rem; line-height: 1.4; }
.ends .text { flex: 1 1 12em; white-space: pre-line; }
.ends .loading { color: var(--soft); font-variant-numeric: tabular-nums; }
.ends .prompt { flex: 1 0 100%; color: var(--soft); font-size: .85rem; white-space: pre-line; }
.warning { color: var(--warn); font-weight: 600; }
dl { display: grid; grid-template-columns: minmax(8em, max-content) 1fr; gap: 3px 18px;
  font-size: .9rem; margin: 10px 0; }
dt { color: var(--soft); }
dd { margin: 0; }
@media (max-width: 640px) {
  main { padding: 18px 14px 40px; }
  .ends { grid-template-columns: 1fr; }
  .ends .high h4 { text-align: left; }
  .interval { display: block; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; }
}
@media print { details > * { display: block; } }
"""
