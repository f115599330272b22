export { createS3Filesystem, type S3Filesystem, type VolumeState } from "./filesystem.ts";
export { keptFrom, type KeptFilesystem } from "./kept-filesystem.ts";
export { recall, type Recalled } from "./recall.ts";
export { readRecords, syncFolder, type PendingRecord } from "./writing/pending-record.ts";
export { isRecordName } from "./writing/record-name.ts";
export { PendingRemovals } from "./writing/pending-removals.ts";
export { readRemovals } from "./writing/removal-file.ts";
export type { FilesystemSettings, VolumeOptions } from "./names/volume.ts";
