import { isUtf8 } from "node:buffer";
import { setattrValid, sizes } from "./abi.ts";
import { FuseError, type AttributeChanges, type ErrnoName } from "./filesystem.ts";
import type { Time } from "./time.ts";

const highWord = 0x1_00_00_00_00;
const replacement = "\u{FFFD}";

/**
 * One request of the kernel, in a buffer that is used again for the next. Offsets count from the end of the header, as in the
 * structures of fuse.h. A 64-bit number becomes a double, exact up to 2^53: enough for the nodes and handles that the filesystem handed
 * out, and for offsets, sizes and seconds as far as files and clocks go. What identifies a request is no such number.
 */
export class Request {
	readonly bytes: Buffer;
	readonly #view: DataView;

	constructor(bytes: Buffer) {
		this.bytes = bytes;
		this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
	}

	get lengthBytes(): number {
		return this.#view.getUint32(0, true);
	}

	get opcode(): number {
		return this.#view.getUint32(4, true);
	}

	/** The two halves of what identifies the request; the top bit has a meaning, so it may not become a double. */
	get uniqueLow(): number {
		return this.#view.getUint32(8, true);
	}

	get uniqueHigh(): number {
		return this.#view.getUint32(12, true);
	}

	get node(): number {
		return this.#view.getUint32(16, true) + this.#view.getUint32(20, true) * highWord;
	}

	get uid(): number {
		return this.#view.getUint32(24, true);
	}

	get gid(): number {
		return this.#view.getUint32(28, true);
	}

	get pid(): number {
		return this.#view.getUint32(32, true);
	}

	uint32(offset: number): number {
		return this.#view.getUint32(sizes.requestHeader + offset, true);
	}

	uint64(offset: number): number {
		const at = sizes.requestHeader + offset;
		return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * highWord;
	}

	int64(offset: number): number {
		const at = sizes.requestHeader + offset;
		return this.#view.getUint32(at, true) + this.#view.getInt32(at + 4, true) * highWord;
	}

	/** The bytes from `offset` on, in place: valid as long as the request is. */
	data(offset: number, lengthBytes: number): Buffer {
		const start = sizes.requestHeader + offset;
		if (start + lengthBytes > this.lengthBytes) throw new RangeError("a request is shorter than its data");
		return this.bytes.subarray(start, start + lengthBytes);
	}

	/** The zero-terminated name that begins at `offset`. One that is not UTF-8 cannot be ours: `otherwise` says how that fails. */
	name(offset: number, otherwise: ErrnoName = "EILSEQ"): string {
		const start = sizes.requestHeader + offset;
		return this.#text(start, this.#endOfName(start), otherwise);
	}

	/** Two zero-terminated names, one after the other. */
	names(offset: number, otherwise: ErrnoName = "EILSEQ"): [string, string] {
		const start = sizes.requestHeader + offset;
		const end = this.#endOfName(start);
		return [this.#text(start, end, otherwise), this.#text(end + 1, this.#endOfName(end + 1), otherwise)];
	}

	/** Where the name at `offset` and its zero end. */
	afterName(offset: number): number {
		return this.#endOfName(sizes.requestHeader + offset) + 1 - sizes.requestHeader;
	}

	#endOfName(start: number): number {
		const end = this.bytes.indexOf(0, start);
		if (end === -1 || end >= this.lengthBytes) throw new RangeError("a request holds a name without end");
		return end;
	}

	#text(start: number, end: number, otherwise: ErrnoName): string {
		const text = this.bytes.toString("utf8", start, end);
		if (text.includes(replacement) && !isUtf8(this.bytes.subarray(start, end)))
			throw new FuseError(otherwise, "a name is not UTF-8");
		return text;
	}
}

/** What SETATTR asks for: struct fuse_setattr_in. */
export function decodeChanges(request: Request): AttributeChanges {
	const valid = request.uint32(0);
	const has = (flag: number): boolean => (valid & flag) !== 0;
	const changes: { -readonly [Key in keyof AttributeChanges]: AttributeChanges[Key] } = {};
	if (has(setattrValid.size)) changes.sizeBytes = request.uint64(16);
	if (has(setattrValid.atimeNow)) changes.atime = "now";
	else if (has(setattrValid.atime)) changes.atime = time(request, 32, 56);
	if (has(setattrValid.mtimeNow)) changes.mtime = "now";
	else if (has(setattrValid.mtime)) changes.mtime = time(request, 40, 60);
	if (has(setattrValid.mode)) changes.mode = request.uint32(68);
	if (has(setattrValid.uid)) changes.uid = request.uint32(76);
	if (has(setattrValid.gid)) changes.gid = request.uint32(80);
	const isOthers = (has(setattrValid.uid) || has(setattrValid.gid)) && !has(setattrValid.mode);
	if (has(setattrValid.clearsSetId) || isOthers) changes.clearsSetId = true;
	return changes;
}

/** The open file that SETATTR names, if any. */
export function decodeChangesHandle(request: Request): number | undefined {
	return (request.uint32(0) & setattrValid.handle) === 0 ? undefined : request.uint64(8);
}

function time(request: Request, secondsAt: number, nanosecondsAt: number): Time {
	return { seconds: request.int64(secondsAt), nanoseconds: request.uint32(nanosecondsAt) };
}
