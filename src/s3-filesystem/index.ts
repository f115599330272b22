export { createS3Filesystem, type KeptFilesystem, type S3Filesystem, type VolumeState } from "./filesystem.ts";
export type { FilesystemSettings, VolumeOptions } from "./names/volume.ts";
