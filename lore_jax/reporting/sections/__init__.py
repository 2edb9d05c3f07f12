"""The sections of the page, one idea each; each gives pieces of HTML, none where it has nothing."""
