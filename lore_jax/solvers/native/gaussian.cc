// Users under a Gaussian prior from the pairs that they compared, on a CPU.
//
// `lore_adapt_gaussian` is called by `library.py`. It keeps no state: threads may call it side by
// side for users of their own.

#include "newton.h"

namespace {

using namespace lanes;

// n pairs in k directions; every pair is a direction of its own.
struct Pairs {
  int64_t k, m;
  Vec* directions;  // [k + 1, n], features; the last are offsets, the population's margins
  Vec* weight;      // [n]
  Vec* margin;      // [n]
  Vec* along;       // [n]
  Vec* pull;        // [n]
  Vec* bend;        // [n]
  Vec* scaled;      // [n]

  INLINE_MEMBER void evaluate(const Vec* deviation) const {
    const Vec* offset = directions + k * m;
    combine(k, m, directions, deviation, margin);
    for (int64_t i = 0; i < m; ++i) {
      Vec lost, curved;
      margin[i] += offset[i];
      lost_and_curved(margin[i], &lost, &curved);
      pull[i] = weight[i] * lost;
      bend[i] = weight[i] * curved;
    }
  }

  INLINE_MEMBER Vec move(const Vec* direction) const {
    combine(k, m, directions, direction, along);
    Vec most{};
    for (int64_t i = 0; i < m; ++i) {
      const Vec moved = weight[i] > 0.0f ? magnitude(along[i]) : Vec{};
      most = moved > most ? moved : most;
    }
    return most;
  }

  INLINE_MEMBER Vec slope() const {
    Vec slope{};
    for (int64_t i = 0; i < m; ++i) {
      Vec lost, curved;
      lost_and_curved(margin[i] + along[i], &lost, &curved);
      slope -= weight[i] * lost * along[i];
    }
    return slope;
  }
};

INLINE int64_t pairs_size(int64_t k, int64_t n) { return (k + 1) * n + 6 * n; }

INLINE Pairs take_pairs(int64_t k, int64_t n, Memory& memory) {
  Pairs p{k, n};
  p.directions = memory.take((k + 1) * n);
  for (Vec** part : {&p.weight, &p.margin, &p.along, &p.pull, &p.bend, &p.scaled})
    *part = memory.take(n);
  return p;
}

FOR_EVERY_MACHINE
void adapt(const Answers& data, const Prior& prior, const Posterior& out, int32_t max_steps,
           Memory& memory) {
  for (int64_t at = 0; at < data.num_users; at += kLanes) {
    const Turn turn = turn_of(data, at);
    memory.clear();
    const Pairs pairs = take_pairs(prior.k, turn.pairs, memory);
    gather(data, turn, pairs.directions, pairs.weight);
    Search search = begin_search(prior.k, memory);
    find_mode(pairs, search, max_steps);
    int64_t users[kLanes] = {};
    for (int lane = 0; lane < turn.users; ++lane) {
      users[lane] = data.users[at + lane];
      out.shots[users[lane]] = shots_of(turn, pairs.weight, lane);
    }
    Vec* rows = memory.take(prior.rank * prior.k);
    write_posterior(prior, search, users, turn.users, rows, out);
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
  Memory memory(pairs_size(k, most_pairs) + search_size(k) + rank * k);
  if (!memory.found()) return 0;
  const Answers data{table,         k + 1, chosen, rejected, pair_weight,
                     weight_stride, users, first,  count,    num_users};
  adapt(data, {mean, factor, rank, k},
        {weights, covariance, shots, converged, steps, grad_norm}, max_steps, memory);
  return 1;
}

// What the library was built from: `library.py` uses no other than what lies beside it.
const char* lore_source_digest() { return LORE_SOURCE_DIGEST; }

}  // extern "C"
