/* Times the exchange of gradients as `train` makes it, without training: each process gets its part of all numbers from all, adds up, and all
 * get all sums (src/train/exchange.rs). To be held beside scripts/scaling.py.
 *
 *     mpicc -O2 scripts/exchange.c -o exchange && mpirun -n 4 ./exchange 409682
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { TIMES = 201 };

static int by_size(const void *a, const void *b) {
    double difference = *(const double *)a - *(const double *)b;
    return difference < 0 ? -1 : difference > 0;
}

int main(int count, char **arguments) {
    MPI_Init(&count, &arguments);
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int weights = count > 1 ? atoi(arguments[1]) : 409682;
    int part = (weights + size - 1) / size;
    float *all = calloc((size_t)part * size, sizeof(float));
    float *got = calloc((size_t)part * size, sizeof(float));
    float *sums = calloc(part, sizeof(float));
    double seconds[TIMES];
    for (int time = 0; time < TIMES; time++) {
        MPI_Barrier(MPI_COMM_WORLD);
        double started = MPI_Wtime();
        MPI_Alltoall(all, part, MPI_FLOAT, got, part, MPI_FLOAT, MPI_COMM_WORLD);
        for (int number = 0; number < part; number++) {
            double sum = 0;
            for (int process = 0; process < size; process++) sum += got[(size_t)process * part + number];
            sums[number] = (float)sum;
        }
        MPI_Allgather(sums, part, MPI_FLOAT, all, part, MPI_FLOAT, MPI_COMM_WORLD);
        seconds[time] = MPI_Wtime() - started;
    }
    qsort(seconds, TIMES, sizeof(double), by_size);
    if (rank == 0)
        printf("%d processes, %d weights: fastest %.2f ms, median %.2f ms\n", size, weights, 1e3 * seconds[0],
               1e3 * seconds[TIMES / 2]);
    MPI_Finalize();
    return 0;
}
