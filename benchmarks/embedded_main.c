/* Runs a network RUNS times, so that the instructions of one run are a difference of two programs. */
#include "net.h"

#include <stdint.h>

static float input[NET_INPUT_SIZE], output[NET_OUTPUT_SIZE];

int main(void)
{
    uint32_t state = 1;
    for (int i = 0; i < NET_INPUT_SIZE; i++) {
        state = state * 1664525u + 1013904223u;
        input[i] = (float)(state >> 16) / 16384.0f - 2.0f;
    }
    for (int i = 0; i < RUNS; i++)
        if (net_run_static(input, output) != 0)
            return 1;
    return 0;
}
