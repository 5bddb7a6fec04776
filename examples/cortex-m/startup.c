/* What a Cortex-M needs before main, and how it talks to a debugger or to qemu (semihosting). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];
extern void initialise_monitor_handles(void);
int main(void);
void reset(void);
void fault(void);
void _fini(void);
void _exit(int status);

/* The stack's end, where to begin, and what every fault does. */
__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, reset, fault, fault, fault, fault, fault,
};

void reset(void)
{
    /* CPACR: the floating-point unit is off after a reset. */
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm volatile("dsb\n\tisb");
    memcpy(data_start, data_load, (size_t)((char *)data_end - (char *)data_start));
    memset(bss_start, 0, (size_t)((char *)bss_end - (char *)bss_start));
    initialise_monitor_handles();
    exit(main());
}

void fault(void)
{
    _exit(99);
}

/* Called by exit, in the C library of gcc-arm-none-eabi. */
void _fini(void)
{
}

/* SYS_EXIT_EXTENDED, so that the emulator's exit status is ours. */
void _exit(int status)
{
    const uint32_t block[2] = {0x20026, (uint32_t)status};
    register uint32_t r0 __asm("r0") = 0x20;
    register const uint32_t *r1 __asm("r1") = block;
    __asm volatile("bkpt 0xAB" : : "r"(r0), "r"(r1) : "memory");
    for (;;) {
    }
}
