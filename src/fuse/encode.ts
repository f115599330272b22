import { openReplyFlags, pageBytes, sizes } from "./abi.ts";
import type { Attributes, Created, Entry, FilesystemStatistics, Opened, Timed } from "./filesystem.ts";
import type { Time } from "./time.ts";

/**
 * Writes a reply's body to `target` from `at` on, every byte of it, for the buffer held another reply before. Returns its length in
 * bytes.
 */
export type Encoder<T> = (target: DataView, at: number, value: T) => number;

const highWord = 0x1_00_00_00_00;

/** Beyond it the kernel's own arithmetic ends; 68 years are for ever. */
const longestValiditySeconds = 0x7f_ff_ff_ff;

export const encodeNothing: Encoder<void> = () => 0;

export const encodeEntry: Encoder<Entry> = (target, at, entry) => {
	writeUint64(target, at, entry.node);
	// A generation tells apart what had the same number; numbers are not used again.
	writeUint64(target, at + 8, 0);
	writeValidity(target, at + 16, at + 32, entry.entryValidMs);
	writeValidity(target, at + 24, at + 36, entry.attributesValidMs);
	writeAttributes(target, at + 40, entry.attributes);
	return sizes.entry;
};

/** An entry that says nothing: the kernel takes the name from what follows it. */
export const encodeNoEntry: Encoder<void> = (target, at) => {
	for (let offset = 0; offset < sizes.entry; offset += 8) target.setFloat64(at + offset, 0);
	return sizes.entry;
};

export const encodeAttributes: Encoder<Timed<Attributes>> = (target, at, attributes) => {
	writeValidity(target, at, at + 8, attributes.attributesValidMs);
	target.setUint32(at + 12, 0, true);
	writeAttributes(target, at + 16, attributes);
	return 16 + sizes.attributes;
};

export const encodeOpened: Encoder<Opened> = (target, at, opened) => {
	const { handle, keepCache, directIo, nonSeekable, noFlush } = opened;
	writeUint64(target, at, handle);
	const flags =
		(keepCache === true ? openReplyFlags.keepCache : 0) |
		(directIo === true ? openReplyFlags.directIo : 0) |
		(nonSeekable === true ? openReplyFlags.nonSeekable : 0) |
		(noFlush === true ? openReplyFlags.noFlush : 0);
	target.setUint32(at + 8, flags, true);
	target.setUint32(at + 12, 0, true);
	return sizes.open;
};

export const encodeCreated: Encoder<Created> = (target, at, created) =>
	encodeEntry(target, at, created) + encodeOpened(target, at + sizes.entry, created);

/** A number of bytes: those written, or the size that an extended attribute has. */
export const encodeCount: Encoder<number> = (target, at, count) => {
	target.setUint32(at, count, true);
	target.setUint32(at + 4, 0, true);
	return 8;
};

export const encodeStatistics: Encoder<FilesystemStatistics> = (target, at, statistics) => {
	for (let offset = 0; offset < sizes.statfs; offset += 8) writeUint64(target, at + offset, 0);
	writeUint64(target, at, statistics.blocks);
	writeUint64(target, at + 8, statistics.freeBlocks);
	writeUint64(target, at + 16, statistics.freeBlocks);
	writeUint64(target, at + 24, statistics.files);
	writeUint64(target, at + 32, statistics.freeFiles);
	target.setUint32(at + 40, statistics.blockSizeBytes, true);
	target.setUint32(at + 44, statistics.maximumNameLength, true);
	target.setUint32(at + 48, statistics.blockSizeBytes, true);
	return sizes.statfs;
};

export function readUint64(source: DataView, at: number): number {
	return source.getUint32(at, true) + source.getUint32(at + 4, true) * highWord;
}

/** Also negative numbers, in two's complement. */
export function writeUint64(target: DataView, at: number, value: number): void {
	target.setUint32(at, value, true);
	target.setUint32(at + 4, value < highWord && value >= 0 ? 0 : Math.floor(value / highWord), true);
}

function writeAttributes(target: DataView, at: number, attributes: Attributes): void {
	const { sizeBytes } = attributes;
	writeUint64(target, at, attributes.ino);
	writeUint64(target, at + 8, sizeBytes);
	writeUint64(target, at + 16, Math.ceil(sizeBytes / 512));
	writeTime(target, at + 24, at + 48, attributes.atime);
	writeTime(target, at + 32, at + 52, attributes.mtime);
	writeTime(target, at + 40, at + 56, attributes.ctime);
	target.setUint32(at + 60, attributes.mode, true);
	target.setUint32(at + 64, attributes.nlink, true);
	target.setUint32(at + 68, attributes.uid, true);
	target.setUint32(at + 72, attributes.gid, true);
	target.setUint32(at + 76, attributes.rdev ?? 0, true);
	target.setUint32(at + 80, attributes.blockSizeBytes ?? pageBytes, true);
	target.setUint32(at + 84, 0, true);
}

function writeTime(target: DataView, secondsAt: number, nanosecondsAt: number, time: Time): void {
	writeUint64(target, secondsAt, time.seconds);
	target.setUint32(nanosecondsAt, time.nanoseconds, true);
}

function writeValidity(target: DataView, secondsAt: number, nanosecondsAt: number, ms: number): void {
	if (ms >= longestValiditySeconds * 1000) {
		writeUint64(target, secondsAt, longestValiditySeconds);
		target.setUint32(nanosecondsAt, 0, true);
		return;
	}
	const bounded = ms > 0 ? ms : 0;
	const seconds = Math.floor(bounded / 1000);
	writeUint64(target, secondsAt, seconds);
	target.setUint32(nanosecondsAt, Math.floor((bounded - seconds * 1000) * 1e6), true);
}
