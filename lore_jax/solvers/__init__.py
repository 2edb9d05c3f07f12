"""One user's problem: likelihoods, Newton, interior point, mixtures, small Cholesky factors."""
