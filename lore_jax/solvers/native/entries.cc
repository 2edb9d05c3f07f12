// Users under a Gaussian prior from answers of every kind, on a CPU.
//
// Answers stand as their entries (`lore_jax/users/entries.py`): differences of two rows of the
// table, of rankings those of neighbours, stretch after stretch. What each kind says is derived in
// `lore_jax/solvers/ordinal.py`, `ties.py` and `ranking_chain.py`. `lore_adapt_entries` is called
// by `library.py`. It keeps no state: threads may call it side by side for users of their own.

#include "newton.h"

namespace {

using namespace lanes;

enum Says : int32_t { kLogistic = 0, kLevels = 1, kDavidson = 2, kRanking = 3 };
constexpr int kMostItems = 64;  // of a ranking; `library.py` knows

// Entries of answers of one kind.
struct Stretch {
  int32_t says;
  int32_t entries;    // from the first of the stretch on
  int32_t num_items;  // of rankings, as are the rest
  int32_t places;
  int32_t worst;
  float log_nu;       // of Davidson's ties
};

// Neighbours of a ranking from one end to the other, of which the first places were said.
struct Chain {
  int first, step, length, places;
};

INLINE int chains_of(const Stretch& s, Chain* chains) {
  const int neighbours = s.num_items - 1;
  chains[0] = {0, 1, neighbours, s.places < neighbours ? s.places : neighbours};
  if (!s.worst || s.places >= neighbours) return 1;
  chains[1] = {neighbours - 1, -1, neighbours - s.places, 1};
  return 2;
}

// How many directions a stretch is.
INLINE int64_t directions_of(const Stretch& s) {
  if (s.says != kRanking) return s.entries;
  Chain chains[2];
  int64_t each = 0;
  for (int c = chains_of(s, chains) - 1; c >= 0; --c) each += chains[c].length;
  return s.entries / (s.num_items - 1) * each;
}

// Each place's b, from the margins of neighbours: `_softmaxes`.
INLINE void softmaxes(const Vec* margin, const Chain& chain, Vec* rest) {
  Vec total = all(1.0f), lead{};
  for (int place = chain.length - 1; place >= 0; --place) {
    const Vec ahead = margin[chain.first + place * chain.step] - lead;
    const Vec less = exp_of_negative(-magnitude(ahead));
    const Mask leads = ahead > 0.0f;
    const Vec behind = leads ? less * total : total;
    total = behind + (leads ? all(1.0f) : less);
    rest[place] = behind / total;
    lead = ahead < 0.0f ? -ahead : Vec{};
  }
}

// Each place's h: `_held`.
INLINE void held(const Vec* rest, const Chain& chain, Vec* held) {
  Vec before{};
  for (int place = 0; place < chain.length; ++place) {
    before = rest[place] * (before + (place < chain.places ? 1.0f : 0.0f));
    held[place] = before;
  }
}

// n entries in k directions; m, for a best-worst choice is two rankings.
struct Entries {
  int64_t k, n, m;
  const Stretch* stretches;
  int64_t num_stretches;
  Vec* features;    // [k + 1, n]; the last are offsets, the population's margins
  Vec* weight;      // [n]
  Vec* lower;       // [n], the cut point below a level; of a tie the outcome, -1, 0 or 1
  Vec* upper;       // [n], the cut point above it
  Vec* margin;      // [n]
  Vec* along;       // [n]
  Vec* directions;  // [k, m]
  Vec* pull;        // [m]
  Vec* bend;        // [m]
  Vec* scaled;      // [m]

  // Slope and curvature of the loss of an entry that is no ranking's.
  INLINE_MEMBER void derivatives(const Stretch& s, int64_t i, Vec z, Vec* slope,
                                 Vec* curvature) const {
    if (s.says == kDavidson) {
      const Vec root_less = exp_of_negative(-0.5f * magnitude(z));
      const Vec less = root_less * root_less, tie = std::exp(s.log_nu) * root_less;
      const Vec over = 1.0f / (1.0f + less + tie);
      const Vec apart = (1.0f - less) * over;
      *slope = 0.5f * ((z < 0.0f ? -apart : apart) - lower[i]);
      *curvature = (less + 0.25f * tie * (1.0f + less)) * over * over;
      return;
    }
    Vec lost, curved;
    lost_and_curved(z - lower[i], &lost, &curved);  // sigmoid(l - z); of a pair l is 0
    *slope = -lost;
    *curvature = curved;
    if (s.says == kLevels) {
      lost_and_curved(upper[i] - z, &lost, &curved);  // sigmoid(z - u)
      *slope += lost;
      *curvature += curved;
    }
  }

  INLINE_MEMBER void evaluate(const Vec* deviation) const {
    const Vec* offset = features + k * n;
    combine(k, n, features, deviation, margin);
    for (int64_t i = 0; i < n; ++i) margin[i] += offset[i];
    int64_t i = 0, to = 0;
    for (const Stretch* s = stretches; s < stretches + num_stretches; ++s) {
      const int64_t end = i + s->entries;
      if (s->says != kRanking) {
        for (; i < end; ++i, ++to) {
          Vec slope, curvature;
          derivatives(*s, i, margin[i], &slope, &curvature);
          pull[to] = -weight[i] * slope;
          bend[to] = weight[i] * curvature;
        }
        continue;
      }
      Chain chains[2];
      const int count = chains_of(*s, chains);
      for (; i < end; i += s->num_items - 1)
        for (int c = 0; c < count; ++c) to = turn(chains[c], i, to);
    }
  }

  // Puts the directions of a chain of the answer at `i` from `to` on; returns what is behind them.
  INLINE_MEMBER int64_t turn(const Chain& chain, int64_t i, int64_t to) const {
    Vec rest[kMostItems], h[kMostItems];
    softmaxes(margin + i, chain, rest);
    held(rest, chain, h);
    const Vec counts = weight[i];
    for (int64_t a = 0; a < k; ++a) {
      Vec u{};
      for (int place = chain.length - 1; place >= 0; --place) {
        const Vec behind = place + 1 < chain.length ? rest[place + 1] * u : Vec{};
        u = features[a * n + i + chain.first + place * chain.step] + behind;
        directions[a * m + to + place] = u;
      }
    }
    for (int place = 0; place < chain.length; ++place) {
      pull[to + place] = place < chain.places ? counts * rest[place] : Vec{};
      bend[to + place] = counts * (1.0f - rest[place]) * h[place];
    }
    return to + chain.length;
  }

  INLINE_MEMBER Vec move(const Vec* direction) const {
    combine(k, n, features, direction, along);
    Vec most{};
    int64_t i = 0;
    for (const Stretch* s = stretches; s < stretches + num_stretches; ++s) {
      const int64_t end = i + s->entries;
      const int64_t each = s->says == kRanking ? s->num_items - 1 : 1;
      for (; i < end; i += each) {
        Vec at{}, highest{}, lowest{};
        for (int64_t j = i; j < i + each; ++j) {
          at += weight[j] > 0.0f ? along[j] : Vec{};
          highest = at > highest ? at : highest;
          lowest = at < lowest ? at : lowest;
        }
        const Vec moved = highest - lowest;
        most = moved > most ? moved : most;
      }
    }
    return most;
  }

  INLINE_MEMBER Vec slope() const {
    Vec sum{};
    int64_t i = 0;
    for (const Stretch* s = stretches; s < stretches + num_stretches; ++s) {
      const int64_t end = i + s->entries;
      if (s->says != kRanking) {
        for (; i < end; ++i) {
          Vec slope, curvature;
          derivatives(*s, i, margin[i] + along[i], &slope, &curvature);
          sum += weight[i] * slope * along[i];
        }
        continue;
      }
      Chain chains[2];
      const int count = chains_of(*s, chains);
      for (; i < end; i += s->num_items - 1) {
        Vec after[kMostItems], rest[kMostItems], h[kMostItems];
        for (int j = 0; j < s->num_items - 1; ++j) after[j] = margin[i + j] + along[i + j];
        for (int c = 0; c < count; ++c) {
          softmaxes(after, chains[c], rest);
          held(rest, chains[c], h);
          for (int place = 0; place < chains[c].length; ++place) {
            const int64_t j = i + chains[c].first + place * chains[c].step;
            sum -= weight[j] * h[place] * along[j];
          }
        }
      }
    }
    return sum;
  }
};

// Rows `[entries, users]`; users are neighbours there.
struct Said {
  const float* table;  // [rows, k + 1]
  const int32_t* first;
  const int32_t* second;
  const float* weight;
  const float* lower;  // [entries, users], as `Entries` has it; 0 where nothing is to be known
  const float* upper;
  int64_t n, num_users;
  const Stretch* stretches;
  int64_t num_stretches;
};

INLINE int64_t entries_size(int64_t k, int64_t n, int64_t m) {
  return (k + 1) * n + 5 * n + k * m + 3 * m;
}

INLINE int64_t directions_of(const Said& said) {
  int64_t m = 0;
  for (int64_t s = 0; s < said.num_stretches; ++s) m += directions_of(said.stretches[s]);
  return m;
}

INLINE Entries take_entries(const Said& said, int64_t k, Memory& memory) {
  Entries e{k, said.n, directions_of(said), said.stretches, said.num_stretches};
  e.features = memory.take((k + 1) * e.n);
  for (Vec** part : {&e.weight, &e.lower, &e.upper, &e.margin, &e.along}) *part = memory.take(e.n);
  e.directions = memory.take(k * e.m);
  for (Vec** part : {&e.pull, &e.bend, &e.scaled}) *part = memory.take(e.m);
  return e;
}

INLINE void gather(const Said& said, int64_t at, int users, const Entries& e) {
  const int64_t columns = e.k + 1;
  float* features = reinterpret_cast<float*>(e.features);
  for (int64_t i = 0; i < e.n; ++i) {
    e.weight[i] = e.lower[i] = e.upper[i] = Vec{};
    for (int lane = 0; lane < kLanes; ++lane) {
      // Lanes without a user repeat the first one, with weight 0.
      const int64_t from = i * said.num_users + at + (lane < users ? lane : 0);
      const float* first = said.table + columns * said.first[from];
      const float* second = said.table + columns * said.second[from];
      float* to = features + i * kLanes + lane;
      for (int64_t a = 0; a < columns; ++a) to[a * e.n * kLanes] = first[a] - second[a];
      if (lane < users) e.weight[i][lane] = said.weight[from];
      e.lower[i][lane] = said.lower[from];
      e.upper[i][lane] = said.upper[from];
    }
  }
  // Directions of what is no ranking never change.
  int64_t i = 0, to = 0;
  for (int64_t s = 0; s < said.num_stretches; ++s) {
    const Stretch& stretch = said.stretches[s];
    if (stretch.says != kRanking)
      for (int64_t a = 0; a < e.k; ++a)
        for (int64_t j = 0; j < stretch.entries; ++j)
          e.directions[a * e.m + to + j] = e.features[a * e.n + i + j];
    i += stretch.entries;
    to += directions_of(stretch);
  }
}

FOR_EVERY_MACHINE
void adapt(const Said& said, const Prior& prior, const Posterior& out, int32_t max_steps,
           Memory& memory) {
  for (int64_t at = 0; at < said.num_users; at += kLanes) {
    const int64_t left = said.num_users - at;
    const int lanes = static_cast<int>(left < kLanes ? left : kLanes);
    memory.clear();
    const Entries entries = take_entries(said, prior.k, memory);
    gather(said, at, lanes, entries);
    Search search = begin_search(prior.k, memory);
    find_mode(entries, search, max_steps);
    int64_t users[kLanes];
    for (int lane = 0; lane < lanes; ++lane) {
      users[lane] = at + lane;
      int32_t shots = 0;
      for (int64_t i = 0; i < entries.n; ++i) shots += entries.weight[i][lane] > 0.0f;
      out.shots[users[lane]] = shots;
    }
    Vec* rows = memory.take(prior.rank * prior.k);
    write_posterior(prior, search, users, lanes, rows, out);
  }
}

}  // namespace

// Users under `w = mean + factor d`, `d ~ N(0, I)`; 0 where there is no memory, else 1.
extern "C" int lore_adapt_entries(const float* table, const int32_t* first, const int32_t* second,
                                  const float* weight, const float* lower, const float* upper,
                                  int64_t entries, int64_t num_users, const int32_t* stretches,
                                  const float* log_nu, int64_t num_stretches, const float* mean,
                                  const float* factor, int64_t rank, int64_t k, int32_t max_steps,
                                  float* weights, float* covariance, int32_t* shots,
                                  uint8_t* converged, int32_t* steps, float* grad_norm) {
  Stretch* parts = static_cast<Stretch*>(std::malloc(num_stretches * sizeof(Stretch)));
  if (parts == nullptr) return 0;
  for (int64_t s = 0; s < num_stretches; ++s) {
    const int32_t* given = stretches + 5 * s;
    parts[s] = {given[0], given[1], given[2], given[3], given[4], log_nu[s]};
  }
  const Said said{table, first,     second, weight, lower,
                  upper, entries, num_users, parts, num_stretches};
  Memory memory(entries_size(k, entries, directions_of(said)) + search_size(k) + rank * k);
  if (memory.found())
    adapt(said, {mean, factor, rank, k},
          {weights, covariance, shots, converged, steps, grad_norm}, max_steps, memory);
  std::free(parts);
  return memory.found();
}
