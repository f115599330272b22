export {
	createS3Filesystem,
	keptFrom,
	type KeptFilesystem,
	type S3Filesystem,
	type VolumeState,
} from "./filesystem.ts";
export { recall, type Recalled } from "./journal.ts";
export type { FilesystemSettings, VolumeOptions } from "./names/volume.ts";
