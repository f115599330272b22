export { createS3Filesystem, type S3Filesystem, type VolumeState } from "./filesystem.ts";
export { keptFrom, type KeptFilesystem } from "./kept-filesystem.ts";
export { recall, type Recalled } from "./journal.ts";
export type { FilesystemSettings, VolumeOptions } from "./names/volume.ts";
