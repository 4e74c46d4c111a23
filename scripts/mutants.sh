#!/bin/sh
# Plants mistakes in the statistics, in the geometry of networks or in the study of depth, one at a time, and runs their tests, by
# cargo-mutants: docs/mutation.md says what came of it.
#
#     sh scripts/mutants.sh stats|networks|study [OPTIONS OF cargo mutants]..
#     sh scripts/mutants.sh stats --shard 0/8 --sharding round-robin
#
# Their unit tests need no device, so a crate of them alone is made below target/: a mistake is built there in seconds.
set -eu
part=${1:-none}
[ $# -eq 0 ] || shift
case $part in
stats)
    files='src/stats/**' test=statistics
    # Simulated studies, which take as long as all others together. What is left without them, they may still find.
    skipped='are_seldom as_often_as_it_says naive_one'
    used='approx|nalgebra|num-traits|rand|rand_chacha|rand_distr|serde|serde_json|statrs|thiserror'
    modules='pub mod stats;
pub mod data {
    pub fn threads() -> usize {
        2
    }
}'
    ;;
networks)
    files='src/nn/{network,spec}.rs' test=networks skipped=from_a_state_dict_alone
    used='approx|clap|rand|rand_chacha|rand_distr|safetensors|serde|serde_json|serde_path_to_error|sha2|thiserror'
    modules='pub mod digest;
pub mod nn {
    mod architecture;
    pub mod checkpoint;
    pub mod layout;
    mod network;
    mod preparation;
    mod spec;
    pub use architecture::{Architecture, Head, Known, Name, Strided};
    pub use network::{Block, Field, Network, Node, Parameter, Start, Value};
    pub use preparation::{Normalize, Preparation};
    pub use spec::{Layer, Named, Op, Spec, SpecError};
}'
    ;;
study)
    files='src/study/**' skipped='guesses_are_accepted equally_good_probes probes_of_random_labels'
    used='anyhow|clap|csv|pollster|rand|rand_chacha|rand_distr|serde|serde_json|tempfile'
    ;;
*)
    echo "there is no part $part: the parts are stats, networks and study" >&2
    exit 1
    ;;
esac

# The head of a Cargo.toml, for a crate of this name.
package() {
    printf '[package]\nname = "%s"\n' "$1"
    grep -E '^(version|edition) = ' Cargo.toml | head -2
}

# Of the project's crates those that the part uses, in its own versions.
crates() {
    grep -E "^($used) = " Cargo.toml | sort -u -t ' ' -k 1,1 | sed 's/, optional = true//'
}

if [ "$part" = study ]; then
    # The study uses most of the rest, which becomes a crate of its own, without what tells of studies. It is built once.
    crate=target/mutants-study
    rest=$crate/rest
    rm -rf "$crate"
    mkdir -p "$rest" "$crate/src"
    cp -R src shaders build.rs Cargo.lock "$rest/"
    cp -R src/study "$crate/src/"
    rm "$rest/src/main.rs"
    # There all is public but macros, and what only tests use is there as well.
    find "$rest/src" -name '*.rs' -exec sed -i '/use {/!s/pub(crate) /pub /; /^    #\[cfg(test)\]/d' {} +
    sed -i '/^pub mod \(bench\|commands\|report\);/d; s/^mod /pub mod /' "$rest/src/lib.rs"
    # A crate gives no methods to the types of another. The tests of this part do not read whole runs.
    sed -i '/^impl Run {/,/^}/d' "$crate/src/study/layers/reading.rs"
    printf 'pub use rest::*;\npub mod study;\n' >"$crate/src/lib.rs"
    {
        package rest
        awk '/^\[/ { on = /^\[(features|dependencies|target.*)\]/ } on' Cargo.toml
    } >"$rest/Cargo.toml"
    {
        package convscope
        printf '[lib]\ndoctest = false\n[workspace]\n[dependencies]\nrest = { path = "rest" }\n'
        crates
        awk '/^\[/ { on = /^\[profile.dev\]/ } on' Cargo.toml
    } >"$crate/Cargo.toml"
    # What the project's own build has made of other crates serves here too.
    export CARGO_TARGET_DIR="$PWD/target"
else
    crate=target/mutants
    rm -rf "$crate/src"
    mkdir -p "$crate/src/nn"
    cp -R src/stats "$crate/src/stats"
    for file in architecture checkpoint layout network preparation spec; do cp "src/nn/$file.rs" "$crate/src/nn/"; done
    cp -R src/digest.rs "tests/$test.rs" tests/golden "$crate/src/"
    # The tests are a part of the crate, so that a mistake takes one run of the compiler.
    printf '#[cfg(test)]\nmod %s;\nextern crate self as convscope;\n%s\n' "$test" "$modules" >"$crate/src/lib.rs"
    {
        package convscope
        printf '[lib]\ndoctest = false\n[features]\ndefault = ["native"]\nnative = []\n[workspace]\n[dependencies]\n'
        crates
        printf '[profile.dev]\nopt-level = 1\ndebug = false\n[profile.dev.package."*"]\nopt-level = 2\n'
    } >"$crate/Cargo.toml"
fi
cp Cargo.lock "$crate/"

set -- "$@" -- --lib --
for name in $skipped; do set -- "$@" --skip "$name"; done
exec cargo mutants --dir "$crate" --in-place --file "$files" --shuffle "$@"
