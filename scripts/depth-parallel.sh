#!/bin/sh
# A study of depth in several processes on one machine, with GNU parallel (apt-get install parallel).
#
#     sh scripts/depth-parallel.sh SHARES OPTIONS..
#     sh scripts/depth-parallel.sh 10 --data photos --depths 1..5 --out studies/photos
#
# As many shares run at once as JOBS says, 2 unless set: a GPU has room for a few. Run it again after a stop: what is done is
# not done again. CONVSCOPE names the program.
set -eu
shares=$1
shift
convscope=${CONVSCOPE:-convscope}

# --halt: a share that fails stops the rest. The options are quoted by parallel itself, so that names with spaces survive.
seq "$shares" | parallel --jobs "${JOBS:-2}" --halt now,fail=1 --quote "$convscope" depth "$@" --unit "{}/$shares"

# Puts the shares together, trains the chosen network and the reference anew and looks at the test set.
exec "$convscope" depth "$@"
