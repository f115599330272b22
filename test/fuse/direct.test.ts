import { everything, testFilesystem } from "./conformance.ts";
import { MountedMemory } from "./mounted-memory.ts";

const memory = { ...everything, hardLinks: false };

testFilesystem("a filesystem in memory over /dev/fuse", async () => MountedMemory.mount(), memory);

testFilesystem(
	"a filesystem in memory over /dev/fuse, with what Linux 4.18 knows",
	async () => MountedMemory.mount({ asLinux418: true }),
	{ ...memory, truncatesAtOpenLikeWrites: false },
);

testFilesystem(
	"a filesystem in memory over /dev/fuse, without the kernel's caches of names",
	async () => MountedMemory.mount({ validMs: 0 }),
	memory,
);
