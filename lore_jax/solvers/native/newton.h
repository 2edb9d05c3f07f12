// Newton's method for the mode of users under a Gaussian prior, and the Laplace covariance there.
//
// The method is that of `lore_jax/solvers/newton.py`, which derives it; names are the same, and so
// are steps, tolerances and what is done about rounding and NaN. What was answered is a problem's:
//
//     evaluate(d)     at a deviation: directions u `[k, m]`, and how much each counts in minus the
//                     gradient of the losses (`pull`) and in their Hessian (`bend`)
//     move(p)         of a step: the largest change of what an answer depends on
//     slope()         of the losses along that step, at its end

#pragma once

#include "lanes.h"

namespace lanes {

constexpr float kReached = 1e-4f;  // Newton decrements, in posterior standard deviations
constexpr float kTolerance = 1e-3f;

// Where the search of the users in the lanes stands, in k directions.
struct Search {
  int64_t k;
  Vec* deviation;   // [k]
  Vec* gradient;    // [k]
  Vec* direction;   // [k]
  Vec* least;       // [k], 1: the prior's part of the Hessian
  Vec* lower;       // [k, k], the Hessian, then its Cholesky factor
  Vec* reciprocal;  // [k], of the factor's diagonal
  Vec* kept;        // [k, k], the factor where each user was stepped last, with reciprocals in its
                    // diagonal
  Mask steps;
  Vec decrement, grad_norm;
};

INLINE int64_t search_size(int64_t k) { return 5 * k + 2 * k * k; }

INLINE Search begin_search(int64_t k, Memory& memory) {
  Search s{k};
  for (Vec** part : {&s.deviation, &s.gradient, &s.direction, &s.least, &s.reciprocal})
    *part = memory.take(k);
  for (Vec** part : {&s.lower, &s.kept}) *part = memory.take(k * k);
  for (int64_t a = 0; a < k; ++a) {
    s.deviation[a] = Vec{};
    s.least[a] = all(1.0f);
  }
  s.steps = Mask{};
  s.decrement = s.grad_norm = all(INFINITY);
  return s;
}

// How much of the step is taken: `newton_step` says why.
template <class Problem>
INLINE Vec length(const Problem& problem, const Search& s, Vec rho) {
  if (!any(rho > 1.0f)) return all(1.0f);
  Vec slope = problem.slope();
  for (int64_t a = 0; a < s.k; ++a) slope += (s.deviation[a] + s.direction[a]) * s.direction[a];
  return slope <= 0.0f ? all(1.0f) : sure_length(rho);
}

template <class Problem>
INLINE void find_mode(const Problem& problem, Search& s, int32_t max_steps) {
  const int64_t k = s.k, m = problem.m;
  Mask active = ~Mask{};
  while (any(active)) {
    problem.evaluate(s.deviation);
    hessian(k, m, problem.directions, problem.bend, problem.scaled, s.lower);
    for (int64_t a = 0; a < k; ++a) {
      Vec sum = s.deviation[a];
      for (int64_t i = 0; i < m; ++i) sum -= problem.pull[i] * problem.directions[a * m + i];
      s.gradient[a] = sum;
      s.direction[a] = -sum;
      s.lower[a * k + a] += 1.0f;
    }
    cholesky(k, s.least, s.lower, s.reciprocal);
    solve(k, s.lower, s.reciprocal, s.direction);
    Vec squared{}, norm{};
    for (int64_t a = 0; a < k; ++a) {
      squared -= s.gradient[a] * s.direction[a];
      norm += s.gradient[a] * s.gradient[a];
    }
    const Vec move = at_least(problem.move(s.direction), all(1e-6f));
    const Vec decrement = root(at_least(squared, Vec{}));
    const Vec share = length(problem, s, move);

    const Mask stalled = (decrement <= kTolerance) & (decrement > 0.5f * s.decrement);
    const Mask going = active & (decrement > kReached) & ~stalled & (s.steps < max_steps);
    const Mask moves = going | (decrement != decrement);  // a NaN stays visible
    const Mask arrives = going & (move <= kTolerance) & (move * decrement <= kReached);
    const Vec left = arrives ? move : all(1.0f);
    for (int64_t a = 0; a < k; ++a) {
      s.deviation[a] = moves ? s.deviation[a] + share * s.direction[a] : s.deviation[a];
      for (int64_t b = 0; b < a; ++b)
        s.kept[a * k + b] = active ? s.lower[a * k + b] : s.kept[a * k + b];
      s.kept[a * k + a] = active ? s.reciprocal[a] : s.kept[a * k + a];
    }
    s.decrement = active ? left * decrement : s.decrement;
    s.grad_norm = active ? left * root(norm) : s.grad_norm;
    s.steps -= going;  // true is -1
    active = going & ~arrives;
  }
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

// The posterior of the user of each lane, to the user's row. weights = mean + factor d, covariance
// = Y Y', the rows of Y = factor L'^-1 by substitution; `rows` has room for Y.
INLINE void write_posterior(const Prior& prior, const Search& s, const int64_t* users, int lanes,
                            Vec* rows, const Posterior& out) {
  const int64_t k = s.k, rank = prior.rank;
  for (int64_t r = 0; r < rank; ++r) {
    const float* factor = prior.factor + r * k;
    Vec* y = rows + r * k;
    Vec weight = all(prior.mean[r]);
    for (int64_t a = 0; a < k; ++a) {
      weight += factor[a] * s.deviation[a];
      Vec entry = all(factor[a]);
      for (int64_t m = 0; m < a; ++m) entry -= s.kept[a * k + m] * y[m];
      y[a] = entry * s.kept[a * k + a];
    }
    for (int lane = 0; lane < lanes; ++lane) out.weights[users[lane] * rank + r] = weight[lane];
    for (int64_t t = 0; t <= r; ++t) {
      Vec sum{};
      for (int64_t a = 0; a < k; ++a) sum += y[a] * rows[t * k + a];
      for (int lane = 0; lane < lanes; ++lane) {
        float* covariance = out.covariance + users[lane] * rank * rank;
        covariance[r * rank + t] = covariance[t * rank + r] = sum[lane];
      }
    }
  }
  for (int lane = 0; lane < lanes; ++lane) {
    out.steps[users[lane]] = s.steps[lane];
    out.converged[users[lane]] = s.decrement[lane] <= kTolerance;
    out.grad_norm[users[lane]] = s.grad_norm[lane];
  }
}

}  // namespace lanes
