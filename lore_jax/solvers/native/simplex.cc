// The weights of users on the simplex that minimise their mean loss, on a CPU.
//
// The method is that of `lore_jax/solvers/interior_point.py`, which derives it; names are the same,
// and so are steps, tolerances and what is done about rounding and NaN. `lore_adapt_simplex` is
// called by `library.py`. It keeps no state: threads may call it side by side for users of their
// own.

#include "lanes.h"

namespace {

using namespace lanes;

constexpr float kTolerance = 1e-6f;  // nats; more where float32 does not resolve the gap so finely
constexpr float kToTheWall = 0.99f;  // share of the way to the nearest wall that a step may take
constexpr float kFirstSlack = 0.25f;
constexpr float kCentring = 0.1f;
constexpr float kLeastWeight = 1e-12f;

// Of the users in the lanes: k weights, n pairs.
struct Group {
  int64_t k, n;
  Vec* features;  // [k, n]
  Vec* apart;     // [k, n], features less the margin
  Vec* share;     // [n], of all the weight of a user's pairs
  Vec* size;      // [n], the largest feature
  Vec* margin;    // [n]
  Vec* along;     // [n]
  Vec* pull;      // [n]
  Vec* bend;      // [n], share times curvature
  Vec* scaled;    // [n]
  Vec* left;      // [k], what the last step left; its sum is 1 but for rounding
  Vec* weights;   // [k], the same summing to 1
  Vec* slack;     // [k]
  Vec* gradient;  // [k]
  Vec* barrier;   // [k], slack / weights
  Vec* towards;   // [k]
  Vec* slack_towards;  // [k]
  Vec* ones;           // [k], solved for 1
  Vec* reciprocal;     // [k]
  Vec* lower;          // [k, k]
};

int64_t group_size(int64_t k, int64_t n) { return 2 * k * n + 7 * n + 9 * k + k * k; }

INLINE Group group(int64_t k, int64_t n, Memory& memory) {
  Group g{k, n};
  for (Vec** part : {&g.features, &g.apart}) *part = memory.take(k * n);
  for (Vec** part : {&g.share, &g.size, &g.margin, &g.along, &g.pull, &g.bend, &g.scaled})
    *part = memory.take(n);
  for (Vec** part : {&g.left, &g.weights, &g.slack, &g.gradient, &g.barrier, &g.towards,
                     &g.slack_towards, &g.ones, &g.reciprocal})
    *part = memory.take(k);
  g.lower = memory.take(k * k);
  return g;
}

// The longest step in (0, 1] that keeps a position positive.
INLINE Vec room(int64_t k, const Vec* position, const Vec* direction) {
  Vec least = all(INFINITY);
  for (int64_t a = 0; a < k; ++a) {
    const Vec to_wall = direction[a] < 0.0f ? -position[a] / direction[a] : all(INFINITY);
    least = to_wall < least ? to_wall : least;
  }
  least *= kToTheWall;
  return least < 1.0f ? least : all(1.0f);
}

struct Found {
  Mask steps, reached;
  Vec gap, grad_norm;
};

INLINE void sum_to_one(const Group& g) {
  Vec sum{};
  for (int64_t a = 0; a < g.k; ++a) sum += g.left[a];
  for (int64_t a = 0; a < g.k; ++a) g.weights[a] = g.left[a] / sum;
}

INLINE void start(const Group& g) {
  Vec total{}, steepest{};
  for (int64_t i = 0; i < g.n; ++i) total += g.share[i];
  total = total > 0.0f ? total : all(1.0f);
  for (int64_t i = 0; i < g.n; ++i) {
    g.share[i] /= total;
    g.size[i] = Vec{};
    for (int64_t a = 0; a < g.k; ++a) {
      const Vec size = magnitude(g.features[a * g.n + i]);
      g.size[i] = size > g.size[i] ? size : g.size[i];
    }
    steepest += g.share[i] * g.size[i];
  }
  for (int64_t a = 0; a < g.k; ++a) {
    g.left[a] = all(1.0f / g.k);
    g.slack[a] = at_least(kFirstSlack * steepest, all(1e-12f));
  }
}

// How long a step is, of at most `most`: `interior_point.py` says why.
INLINE Vec length(const Group& g, Vec mu, Vec most) {
  Vec slope{}, move = all(1e-6f);
  for (int64_t i = 0; i < g.n; ++i) {
    Vec lost, curved;
    lost_and_curved(g.margin[i] + most * g.along[i], &lost, &curved);
    slope -= g.share[i] * lost * g.along[i];
    const Vec moved = g.share[i] > 0.0f ? magnitude(g.along[i]) : Vec{};
    move = moved > move ? moved : move;
  }
  for (int64_t a = 0; a < g.k; ++a)
    slope -= mu * g.towards[a] / (g.weights[a] + most * g.towards[a]);
  if (!any(slope > 0.0f)) return most;
  const Vec surely = sure_length(move);
  return slope > 0.0f ? (surely < most ? surely : most) : most;
}

INLINE Found find_weights(const Group& g, int32_t max_steps) {
  const int64_t k = g.k, n = g.n;
  Found found{Mask{}, Mask{}, all(INFINITY), all(INFINITY)};
  Mask active = ~Mask{};
  start(g);
  while (any(active)) {
    sum_to_one(g);
    combine(k, n, g.features, g.weights, g.margin);
    Vec rounding{};
    for (int64_t i = 0; i < n; ++i) {
      Vec lost, curved, widest{};
      lost_and_curved(g.margin[i], &lost, &curved);
      g.pull[i] = g.share[i] * lost;
      g.bend[i] = g.share[i] * curved;
      for (int64_t a = 0; a < k; ++a) {
        const Vec apart = g.features[a * n + i] - g.margin[i];
        g.apart[a * n + i] = apart;
        widest = magnitude(apart) > widest ? magnitude(apart) : widest;
      }
      rounding += (g.pull[i] + 0.25f * g.bend[i] * g.size[i]) * widest;
    }
    hessian(k, n, g.apart, g.bend, g.scaled, g.lower);
    Vec mean_gradient{}, least = all(INFINITY), mu{};
    for (int64_t a = 0; a < k; ++a) {
      Vec sum{};
      for (int64_t i = 0; i < n; ++i) sum -= g.pull[i] * g.apart[a * n + i];
      g.gradient[a] = sum;
      mean_gradient += g.weights[a] * sum;
      least = sum < least ? sum : least;
      mu += g.weights[a] * g.slack[a];
    }
    mu *= kCentring / k;
    const Vec gap = mean_gradient - least;  // NaN where the mean is
    const Vec tolerance = kTolerance * at_least(rounding, all(1.0f));
    Vec norm{};
    for (int64_t a = 0; a < k; ++a) {
      const Vec part = g.weights[a] * (g.gradient[a] - mean_gradient);
      norm += part * part;
      g.barrier[a] = g.slack[a] / g.weights[a];
      g.lower[a * k + a] += g.barrier[a];
      g.towards[a] = mu / g.weights[a] - g.gradient[a];
      g.ones[a] = all(1.0f);
    }
    cholesky(k, g.barrier, g.lower, g.reciprocal);
    solve(k, g.lower, g.reciprocal, g.towards);
    solve(k, g.lower, g.reciprocal, g.ones);
    Vec sum_towards{}, sum_ones{};
    for (int64_t a = 0; a < k; ++a) {
      sum_towards += g.towards[a];
      sum_ones += g.ones[a];
    }
    const Vec multiplier = sum_towards / sum_ones;
    for (int64_t a = 0; a < k; ++a) {
      g.towards[a] -= g.ones[a] * multiplier;
      g.slack_towards[a] = mu / g.weights[a] - g.slack[a] - g.barrier[a] * g.towards[a];
    }
    const Vec of_weights = room(k, g.weights, g.towards);
    const Vec of_slack = room(k, g.slack, g.slack_towards);
    combine(k, n, g.apart, g.towards, g.along);
    const Vec step = length(g, mu, of_weights < of_slack ? of_weights : of_slack);

    const Mask reached = gap <= tolerance;
    const Mask going = active & (gap > tolerance) & (found.steps < max_steps);
    found.gap = active ? gap : found.gap;
    found.grad_norm = active ? root(norm) : found.grad_norm;
    found.reached = active ? reached : found.reached;
    found.steps -= going;  // true is -1
    for (int64_t a = 0; a < k; ++a) {
      const Vec moved = at_least(g.weights[a] + step * g.towards[a], all(kLeastWeight));
      g.left[a] = going ? moved : g.left[a];
      g.slack[a] = going ? g.slack[a] + step * g.slack_towards[a] : g.slack[a];
    }
    active = going;
  }
  sum_to_one(g);
  return found;
}

struct Posterior {
  float* weights;  // [.., k]
  int32_t* shots;
  uint8_t* converged;
  int32_t* steps;
  float* grad_norm;
};

INLINE void scatter(const float* mean, const Group& g, const Found& found, const Turn& turn,
                    const int32_t* users, const Posterior& out) {
  for (int lane = 0; lane < turn.users; ++lane) {
    const int64_t user = users[lane];
    const int32_t shots = shots_of(turn, g.share, lane);
    const bool lost = found.gap[lane] != found.gap[lane];  // a NaN stays visible
    for (int64_t a = 0; a < g.k; ++a)
      out.weights[user * g.k + a] = shots == 0 ? mean[a] : lost ? NAN : g.weights[a][lane];
    out.shots[user] = shots;
    out.steps[user] = found.steps[lane];
    out.converged[user] = found.reached[lane] != 0;
    out.grad_norm[user] = found.grad_norm[lane];
  }
}

FOR_EVERY_MACHINE
void adapt(const Answers& data, const float* mean, const Posterior& out, int32_t max_steps,
           Memory& memory) {
  for (int64_t at = 0; at < data.num_users; at += kLanes) {
    const Turn turn = turn_of(data, at);
    memory.clear();
    const Group g = group(data.columns, turn.pairs, memory);
    gather(data, turn, g.features, g.share);
    const Found found = find_weights(g, max_steps);
    scatter(mean, g, found, turn, data.users + at, out);
  }
}

}  // namespace

// Users whose weights are on the simplex; 0 where there is no memory, else 1.
extern "C" int lore_adapt_simplex(const float* table, const int32_t* chosen,
                                  const int32_t* rejected, const float* pair_weight,
                                  int64_t weight_stride, const int32_t* users, const int32_t* first,
                                  const int32_t* count, int64_t num_users, int64_t most_pairs,
                                  const float* mean, int64_t rank, int32_t max_steps,
                                  float* weights, int32_t* shots, uint8_t* converged,
                                  int32_t* steps, float* grad_norm) {
  Memory memory(group_size(rank, most_pairs));
  if (!memory.found()) return 0;
  const Answers data{table,         rank,  chosen, rejected, pair_weight,
                     weight_stride, users, first,  count,    num_users};
  adapt(data, mean, {weights, shots, converged, steps, grad_norm}, max_steps, memory);
  return 1;
}
