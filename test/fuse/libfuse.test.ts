import { everything, testFilesystem } from "./conformance.ts";
import { MountedMemory } from "./mounted-memory.ts";

// What fuse-native and libfuse 2.9 do not pass on.
testFilesystem("a filesystem in memory over libfuse", async () => MountedMemory.mountLibfuse(), {
	...everything,
	hardLinks: false,
	fallocate: false,
	exactTimes: false,
	creatorsOwn: false,
});
