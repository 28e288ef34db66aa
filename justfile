# Recipes for work on grafter. `just` alone lists them.

default:
    @just --list

# What must hold before a commit, cheapest first; the real model must be in the cache for its test not to be skipped
check: fmt guard clippy docs deny test

# Formatting
fmt:
    cargo fmt --all --check

# Sizes, addresses and paths of the tracked files
guard:
    bash .ci/guard

# Lints, warnings as errors
clippy:
    cargo clippy --workspace --all-targets -- -D warnings

# Documentation, warnings as errors
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Licences, sources and yanked versions; advisories where cargo-deny is installed
deny:
    .ci/dependencies

# All tests
test:
    cargo test --workspace

# So many seconds of fuzzing for each target, or for these
fuzz seconds="60" *targets:
    fuzz/run {{seconds}} {{targets}}

# Fetch the model into the cache
pull:
    cargo run --release -- pull

# Tokens per second of training and inference at these lengths of a row
bench *lengths="128 12 53":
    cargo run --release -p grafter --example throughput -- "$(cargo run --release --quiet -- pull)" {{lengths}}

# The three small tasks of the quickstart
quickstart:
    cargo run --release -- quickstart
