import { expect, onTestFinished, test } from "vitest";
import { bash } from "./application.ts";
import { MountedMemory } from "./mounted-memory.ts";

/** Reads through the kernel's cache while a direct write that nobody waits for is under way, and when it is done until what it wrote is there. */
const program = `
import ctypes, mmap, os, platform, struct, time
setup, submit, events = (206, 209, 208) if platform.machine() == "x86_64" else (0, 2, 4)
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
    result = libc.syscall(*args)
    assert result >= 0, os.strerror(ctypes.get_errno())
context = ctypes.c_ulong(0)
call(setup, 1, ctypes.byref(context))
new = mmap.mmap(-1, 4096)
new.write(b"n" * 4096)
address = ctypes.addressof(ctypes.c_char.from_buffer(new))
direct = os.open("late", os.O_RDWR | os.O_DIRECT)
cached = os.open("late", os.O_RDONLY)
# struct iocb of linux/aio_abi.h: a write of the first page.
request = ctypes.create_string_buffer(struct.pack("QIIHhIQQqQII", 0, 0, 0, 1, 0, direct, address, 4096, 0, 0, 0, 0))
call(submit, context, 1, ctypes.byref(ctypes.c_void_p(ctypes.addressof(request))))
meanwhile = os.pread(cached, 1, 0)
call(events, context, 1, 1, ctypes.create_string_buffer(32), None)
until = time.monotonic() + 30
while os.pread(cached, 1, 0) != b"n" and time.monotonic() < until: time.sleep(0.01)
print(meanwhile.decode(), os.pread(cached, 1, 0).decode(), os.pread(cached, 1, 4096).decode())
`;

test("what direct I/O has written is what others read soon, whatever they have read meanwhile", async () => {
	const mounted = await MountedMemory.mount();
	onTestFinished(() => mounted.clear());
	await bash(mounted.path, `head -c 8192 /dev/zero | tr '\\0' o > late`);
	expect(await bash(mounted.path, `python3 -c '${program}'`)).toBe("o n o\n");
});
