// The mode and the Laplace covariance of users under a Gaussian prior, on a CPU.
//
// The method is that of `lore_jax/solvers/newton.py`, which derives it; names are the same, and so
// are steps, tolerances and what is done about rounding and NaN. `lore_adapt_gaussian` is called by
// `library.py`. It keeps no state: threads may call it side by side for users of their own.

#include "lanes.h"

namespace {

using namespace lanes;

constexpr float kReached = 1e-4f;  // Newton decrements, in posterior standard deviations
constexpr float kTolerance = 1e-3f;

// Of the users in the lanes: k directions, n pairs.
struct Group {
  int64_t k, n;
  Vec* features;    // [k + 1, n]; the last are offsets, the population's margins
  Vec* weight;      // [n]
  Vec* margin;      // [n]
  Vec* along;       // [n]
  Vec* pull;        // [n]
  Vec* bend;        // [n], weight times curvature
  Vec* scaled;      // [n]
  Vec* deviation;   // [k]
  Vec* gradient;    // [k]
  Vec* direction;   // [k]
  Vec* least;       // [k], 1: the prior's part of the Hessian
  Vec* lower;       // [k, k], the Hessian, then its Cholesky factor
  Vec* reciprocal;  // [k], of the factor's diagonal
  Vec* kept;        // [k, k], the factor where each user was stepped last; reciprocals in its
                    // diagonal
};

int64_t group_size(int64_t k, int64_t n) { return (k + 1) * n + 6 * n + 5 * k + 2 * k * k; }

INLINE Group group(int64_t k, int64_t n, Memory& memory) {
  Group g{k, n};
  g.features = memory.take((k + 1) * n);
  for (Vec** part : {&g.weight, &g.margin, &g.along, &g.pull, &g.bend, &g.scaled})
    *part = memory.take(n);
  for (Vec** part : {&g.deviation, &g.gradient, &g.direction, &g.least, &g.reciprocal})
    *part = memory.take(k);
  for (Vec** part : {&g.lower, &g.kept}) *part = memory.take(k * k);
  return g;
}

// How much of the step is taken: `newton_step` says why.
INLINE Vec length(const Group& g, Vec rho) {
  if (!any(rho > 1.0f)) return all(1.0f);
  Vec slope{};
  for (int64_t a = 0; a < g.k; ++a) slope += (g.deviation[a] + g.direction[a]) * g.direction[a];
  for (int64_t i = 0; i < g.n; ++i) {
    Vec lost, curved;
    lost_and_curved(g.margin[i] + g.along[i], &lost, &curved);
    slope -= g.weight[i] * lost * g.along[i];
  }
  return slope <= 0.0f ? all(1.0f) : sure_length(rho);
}

struct Found {
  Mask steps;
  Vec decrement, grad_norm;
};

INLINE Found find_mode(const Group& g, int32_t max_steps) {
  const int64_t k = g.k, n = g.n;
  const Vec* offset = g.features + k * n;
  Found found{Mask{}, all(INFINITY), all(INFINITY)};
  Mask active = ~Mask{};
  for (int64_t a = 0; a < k; ++a) {
    g.deviation[a] = Vec{};
    g.least[a] = all(1.0f);
  }
  while (any(active)) {
    combine(k, n, g.features, g.deviation, g.margin);
    for (int64_t i = 0; i < n; ++i) {
      Vec lost, curved;
      g.margin[i] += offset[i];
      lost_and_curved(g.margin[i], &lost, &curved);
      g.pull[i] = g.weight[i] * lost;
      g.bend[i] = g.weight[i] * curved;
    }
    hessian(k, n, g.features, g.bend, g.scaled, g.lower);
    for (int64_t a = 0; a < k; ++a) {
      Vec sum = g.deviation[a];
      for (int64_t i = 0; i < n; ++i) sum -= g.pull[i] * g.features[a * n + i];
      g.gradient[a] = sum;
      g.direction[a] = -sum;
      g.lower[a * k + a] += 1.0f;
    }
    cholesky(k, g.least, g.lower, g.reciprocal);
    solve(k, g.lower, g.reciprocal, g.direction);
    combine(k, n, g.features, g.direction, g.along);
    Vec move = all(1e-6f), squared{}, norm{};
    for (int64_t i = 0; i < n; ++i) {
      const Vec moved = g.weight[i] > 0.0f ? magnitude(g.along[i]) : Vec{};
      move = moved > move ? moved : move;
    }
    for (int64_t a = 0; a < k; ++a) {
      squared -= g.gradient[a] * g.direction[a];
      norm += g.gradient[a] * g.gradient[a];
    }
    const Vec decrement = root(at_least(squared, Vec{}));
    const Vec share = length(g, move);

    const Mask stalled = (decrement <= kTolerance) & (decrement > 0.5f * found.decrement);
    const Mask going = active & (decrement > kReached) & ~stalled & (found.steps < max_steps);
    const Mask moves = going | (decrement != decrement);  // a NaN stays visible
    const Mask arrives = going & (move <= kTolerance) & (move * decrement <= kReached);
    const Vec left = arrives ? move : all(1.0f);
    for (int64_t a = 0; a < k; ++a) {
      g.deviation[a] = moves ? g.deviation[a] + share * g.direction[a] : g.deviation[a];
      for (int64_t b = 0; b < a; ++b)
        g.kept[a * k + b] = active ? g.lower[a * k + b] : g.kept[a * k + b];
      g.kept[a * k + a] = active ? g.reciprocal[a] : g.kept[a * k + a];
    }
    found.decrement = active ? left * decrement : found.decrement;
    found.grad_norm = active ? left * root(norm) : found.grad_norm;
    found.steps -= going;  // true is -1
    active = going & ~arrives;
  }
  return found;
}

struct Prior {
  const float* mean;    // [rank]
  const float* factor;  // [rank, k]
  int64_t rank, k;
};

struct Posterior {
  float* weights;     // [.., rank]
  float* covariance;  // [.., rank, rank]
  int32_t* shots;
  uint8_t* converged;
  int32_t* steps;
  float* grad_norm;
};

// weights = mean + factor d; covariance = Y Y', the rows of Y = factor L'^-1 by substitution.
INLINE void scatter(const Prior& prior, const Group& g, const Found& found, const Turn& turn,
                    const int32_t* users, Vec* rows, const Posterior& out) {
  const int64_t k = g.k, rank = prior.rank;
  for (int64_t r = 0; r < rank; ++r) {
    const float* factor = prior.factor + r * k;
    Vec* y = rows + r * k;
    Vec weight = all(prior.mean[r]);
    for (int64_t a = 0; a < k; ++a) {
      weight += factor[a] * g.deviation[a];
      Vec entry = all(factor[a]);
      for (int64_t m = 0; m < a; ++m) entry -= g.kept[a * k + m] * y[m];
      y[a] = entry * g.kept[a * k + a];
    }
    for (int lane = 0; lane < turn.users; ++lane)
      out.weights[users[lane] * rank + r] = weight[lane];
    for (int64_t s = 0; s <= r; ++s) {
      Vec sum{};
      for (int64_t a = 0; a < k; ++a) sum += y[a] * rows[s * k + a];
      for (int lane = 0; lane < turn.users; ++lane) {
        float* covariance = out.covariance + users[lane] * rank * rank;
        covariance[r * rank + s] = covariance[s * rank + r] = sum[lane];
      }
    }
  }
  for (int lane = 0; lane < turn.users; ++lane) {
    const int64_t user = users[lane];
    out.shots[user] = shots_of(turn, g.weight, lane);
    out.steps[user] = found.steps[lane];
    out.converged[user] = found.decrement[lane] <= kTolerance;
    out.grad_norm[user] = found.grad_norm[lane];
  }
}

FOR_EVERY_MACHINE
void adapt(const Answers& data, const Prior& prior, const Posterior& out, int32_t max_steps,
           Memory& memory) {
  for (int64_t at = 0; at < data.num_users; at += kLanes) {
    const Turn turn = turn_of(data, at);
    memory.clear();
    const Group g = group(prior.k, turn.pairs, memory);
    gather(data, turn, g.features, g.weight);
    const Found found = find_mode(g, max_steps);
    scatter(prior, g, found, turn, data.users + at, memory.take(prior.rank * prior.k), out);
  }
}

}  // namespace

extern "C" {

// Users under `w = mean + factor d`, `d ~ N(0, I)`; 0 where there is no memory, else 1.
int lore_adapt_gaussian(const float* table, const int32_t* chosen, const int32_t* rejected,
                        const float* pair_weight, int64_t weight_stride, const int32_t* users,
                        const int32_t* first, const int32_t* count, int64_t num_users,
                        int64_t most_pairs, const float* mean, const float* factor, int64_t rank,
                        int64_t k, int32_t max_steps, float* weights, float* covariance,
                        int32_t* shots, uint8_t* converged, int32_t* steps, float* grad_norm) {
  Memory memory(group_size(k, most_pairs) + rank * k);
  if (!memory.found()) return 0;
  const Answers data{table,         k + 1, chosen, rejected, pair_weight,
                     weight_stride, users, first,  count,    num_users};
  adapt(data, {mean, factor, rank, k}, {weights, covariance, shots, converged, steps, grad_norm},
        max_steps, memory);
  return 1;
}

// What the library was built from: `library.py` uses no other than what lies beside it.
const char* lore_source_digest() { return LORE_SOURCE_DIGEST; }

}  // extern "C"
