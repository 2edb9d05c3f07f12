// What the solvers share: eight users side by side in the lanes of a vector, and the sums,
// factorisations and gathers that a Newton step is made of.
//
// All that is made of eight users on the way stays in the nearest cache, where XLA writes each
// stage for two thousand users before the next one reads it. Rows of the table are gathered here
// too, and results go to the rows of their users, so that nothing is padded or laid out anew.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
// The machine that runs it chooses.
#define FOR_EVERY_MACHINE \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EVERY_MACHINE
#endif

namespace lanes {

constexpr int kLanes = 8;
constexpr float kLost = 1e-6f;  // a pivot below this part of its diagonal entry is rounding

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef int32_t Mask __attribute__((vector_size(4 * kLanes)));

// Whatever is inlined is compiled for each of these machines.
#define INLINE_MEMBER inline __attribute__((always_inline))
#define INLINE static INLINE_MEMBER

INLINE Vec all(float x) { return Vec{} + x; }

INLINE bool any(Mask m) {
  int32_t found = 0;
  for (int i = 0; i < kLanes; ++i) found |= m[i];
  return found != 0;
}

// The larger one; NaN where x is NaN.
INLINE Vec at_least(Vec x, Vec least) { return x < least ? least : x; }

INLINE Vec root(Vec x) {
  Vec out;
  for (int i = 0; i < kLanes; ++i) out[i] = __builtin_sqrtf(x[i]);
  return out;
}

INLINE Vec magnitude(Vec x) { return x < 0.0f ? -x : x; }

// exp(x) for x <= 0, to a few units in the last place: x = n log 2 + r, |r| <= log(2) / 2, and the
// Taylor polynomial of exp(r). Below exp(-87) the result is exp(-87).
INLINE Vec exp_of_negative(Vec x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = at_least(x, all(-87.0f));
  const Vec shifted = x * 1.44269504f + kRound;
  const Vec n = shifted - kRound;
  const Vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // log 2 in two parts
  Vec p = all(1.0f / 5040.0f);
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // The integer stands in the low bits of `shifted`; it becomes the exponent of a power of two.
  const Mask exponent = ((Mask)shifted - (Mask)all(kRound) + 127) << 23;
  return p * (Vec)exponent;
}

// sigmoid(-z), and its derivative's size sigmoid(z) sigmoid(-z).
INLINE void lost_and_curved(Vec z, Vec* lost, Vec* curved) {
  const Vec t = exp_of_negative(-magnitude(z));
  const Vec over = 1.0f / (1.0f + t);
  *lost = z > 0.0f ? t * over : over;
  *curved = t * over * over;
}

// How much of a step surely decreases an objective with this loss, rho the largest change of a
// margin: `likelihood.step_length` says why.
INLINE Vec sure_length(Vec rho) {
  Vec length;
  for (int i = 0; i < kLanes; ++i) length[i] = rho[i] > 1.0f ? std::log1p(rho[i]) / rho[i] : 1.0f;
  return length;
}

// out_i = f_i . w, of k directions and n pairs
INLINE void combine(int64_t k, int64_t n, const Vec* features, const Vec* weights, Vec* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = Vec{};
  for (int64_t a = 0; a < k; ++a) {
    const Vec* f = features + a * n;
    const Vec w = weights[a];
    for (int64_t i = 0; i < n; ++i) out[i] += f[i] * w;
  }
}

// The lower triangle of sum_i bend_i f_i f_i', four sums at a time in registers.
INLINE void hessian(int64_t k, int64_t n, const Vec* features, const Vec* bend, Vec* scaled,
                    Vec* lower) {
  for (int64_t a = 0; a < k; ++a) {
    const Vec* fa = features + a * n;
    for (int64_t i = 0; i < n; ++i) scaled[i] = fa[i] * bend[i];
    int64_t b = 0;
    for (; b + 4 <= a + 1; b += 4) {
      const Vec* f = features + b * n;
      Vec s0{}, s1{}, s2{}, s3{};
      for (int64_t i = 0; i < n; ++i) {
        const Vec x = scaled[i];
        s0 += x * f[i];
        s1 += x * f[n + i];
        s2 += x * f[2 * n + i];
        s3 += x * f[3 * n + i];
      }
      Vec* row = lower + a * k + b;
      row[0] = s0;
      row[1] = s1;
      row[2] = s2;
      row[3] = s3;
    }
    for (; b <= a; ++b) {
      const Vec* f = features + b * n;
      Vec sum{};
      for (int64_t i = 0; i < n; ++i) sum += scaled[i] * f[i];
      lower[a * k + b] = sum;
    }
  }
}

// The Cholesky factor L in place, and the reciprocals of its diagonal. The matrix is a diagonal D
// and something positive semi-definite, so no pivot is below D's entry; one of which rounding has
// left nothing is that entry, and its column 0 (`cholesky.cholesky`).
INLINE void cholesky(int64_t k, const Vec* least, Vec* lower, Vec* reciprocal) {
  for (int64_t j = 0; j < k; ++j) {
    Vec* row = lower + j * k;
    const Vec diagonal = row[j];
    Vec pivot = diagonal;
    for (int64_t m = 0; m < j; ++m) pivot -= row[m] * row[m];
    row[j] = root(at_least(pivot, least[j]));
    reciprocal[j] = 1.0f / row[j];
    const Vec divide = pivot < kLost * diagonal ? Vec{} : reciprocal[j];
    for (int64_t i = j + 1; i < k; ++i) {
      Vec* below = lower + i * k;
      Vec entry = below[j];
      for (int64_t m = 0; m < j; ++m) entry -= below[m] * row[m];
      below[j] = entry * divide;
    }
  }
}

// x <- (L L')^-1 x
INLINE void solve(int64_t k, const Vec* lower, const Vec* reciprocal, Vec* x) {
  for (int64_t i = 0; i < k; ++i) {
    Vec entry = x[i];
    for (int64_t m = 0; m < i; ++m) entry -= lower[i * k + m] * x[m];
    x[i] = entry * reciprocal[i];
  }
  for (int64_t i = k - 1; i >= 0; --i) {
    Vec entry = x[i];
    for (int64_t m = i + 1; m < k; ++m) entry -= lower[m * k + i] * x[m];
    x[i] = entry * reciprocal[i];
  }
}

// Who answered what. A user's pairs are contiguous.
struct Answers {
  const float* table;  // [responses, columns]
  int64_t columns;
  const int32_t* chosen;
  const int32_t* rejected;
  const float* pair_weight;
  int64_t weight_stride;  // 0 where all pairs count the same
  const int32_t* users;   // [num_users], with first and count
  const int32_t* first;
  const int32_t* count;
  int64_t num_users;
};

// The users from `at` on that stand side by side, and the pairs of the one who has most.
struct Turn {
  int64_t at;
  int users;
  int64_t pairs;
};

INLINE Turn turn_of(const Answers& data, int64_t at) {
  const int64_t left = data.num_users - at;
  Turn turn{at, static_cast<int>(left < kLanes ? left : kLanes), 0};
  for (int lane = 0; lane < turn.users; ++lane)
    if (data.count[at + lane] > turn.pairs) turn.pairs = data.count[at + lane];
  return turn;
}

// Differences of rows of the table, `[columns, pairs]`, and weights; 0 beyond a user's pairs.
INLINE void gather(const Answers& data, const Turn& turn, Vec* features, Vec* weight) {
  float* to_features = reinterpret_cast<float*>(features);
  float* to_weight = reinterpret_cast<float*>(weight);
  for (int lane = 0; lane < kLanes; ++lane) {
    const bool somebody = lane < turn.users;
    const int64_t count = somebody ? data.count[turn.at + lane] : 0;
    const int64_t first = somebody ? data.first[turn.at + lane] : 0;
    for (int64_t i = 0; i < turn.pairs; ++i) {
      const int64_t to = i * kLanes + lane;
      if (i >= count) {
        for (int64_t a = 0; a < data.columns; ++a)
          to_features[a * turn.pairs * kLanes + to] = 0.0f;
        to_weight[to] = 0.0f;
        continue;
      }
      const float* chosen = data.table + data.columns * data.chosen[first + i];
      const float* rejected = data.table + data.columns * data.rejected[first + i];
      for (int64_t a = 0; a < data.columns; ++a)
        to_features[a * turn.pairs * kLanes + to] = chosen[a] - rejected[a];
      to_weight[to] = data.pair_weight[data.weight_stride * (first + i)];
    }
  }
}

// How many of a user's pairs count.
INLINE int32_t shots_of(const Turn& turn, const Vec* weight, int lane) {
  int32_t shots = 0;
  for (int64_t i = 0; i < turn.pairs; ++i) shots += weight[i][lane] > 0.0f;
  return shots;
}

// Memory for the numbers of eight users, handed out piece by piece.
class Memory {
 public:
  explicit Memory(int64_t size)
      : all_(static_cast<Vec*>(std::aligned_alloc(sizeof(Vec), size * sizeof(Vec)))) {}
  ~Memory() { std::free(all_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  bool found() const { return all_ != nullptr; }
  void clear() { taken_ = 0; }
  Vec* take(int64_t size) {
    Vec* piece = all_ + taken_;
    taken_ += size;
    return piece;
  }

 private:
  Vec* all_;
  int64_t taken_ = 0;
};

}  // namespace lanes
