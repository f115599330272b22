import { everything, testFilesystem } from "./conformance.ts";
import { MountedMemory } from "./mounted-memory.ts";

testFilesystem("a filesystem in memory over libfuse", async () => MountedMemory.mountLibfuse(), {
	...everything,
	// As over /dev/fuse: the filesystem in memory has none.
	hardLinks: false,
	// fuse-native has no function for it.
	fallocate: false,
	// fuse-native counts milliseconds since 1970; libfuse sets both times or, if it is told one, none.
	exactTimes: false,
	// fuse-native does not tell who asks.
	creatorsOwn: false,
});
