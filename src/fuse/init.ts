import { initFlags, pageBytes, protocol, sizes } from "./abi.ts";
import type { Request } from "./decode.ts";
import type { KernelConnection } from "./filesystem.ts";

/** What the kernel says of itself: struct fuse_init_in. */
export interface KernelOffer {
	readonly major: number;
	readonly minor: number;
	readonly maxReadAheadBytes: number;
	readonly flags: bigint;
}

export type Negotiation =
	| { readonly kind: "agreed"; readonly connection: KernelConnection }
	/** The kernel is newer: it is told our version and asks again. */
	| { readonly kind: "retry" }
	| { readonly kind: "too-old" };

/** Requests that nobody waits for, such as read-ahead: how many at a time, and from which number on the kernel slows down. */
const background = { maximum: 64, congested: 48 } as const;

/**
 * The kernel takes the smaller one of this and the mount's own read-ahead. So it must not be what the kernel offers, which is what
 * the mount began with: it may have been raised since.
 */
const maxReadAheadBytes = 16 * 1024 * 1024;

const timeGranularityNanoseconds = 1;

const withoutMaxPagesBytes = 128 * 1024;

const wanted =
	initFlags.asyncRead |
	initFlags.atomicTruncate |
	initFlags.bigWrites |
	initFlags.readdirplus |
	initFlags.readdirplusAuto |
	initFlags.asyncDirectIo |
	initFlags.parallelDirectoryOperations |
	initFlags.maxPages |
	initFlags.cacheSymlinks |
	initFlags.explicitInvalidateData |
	initFlags.clearsSetId |
	initFlags.directIoMmap |
	initFlags.resend;

/** Whether another process can go on where one has died: since Linux 6.9. */
export function canResend({ flags }: KernelConnection): boolean {
	return (BigInt(`0x${flags}`) & initFlags.resend) !== 0n;
}

export function decodeOffer(request: Request): KernelOffer {
	const low = BigInt(request.uint32(12));
	return {
		major: request.uint32(0),
		minor: request.uint32(4),
		maxReadAheadBytes: request.uint32(8),
		flags: (low & initFlags.extended) === 0n ? low : low | (BigInt(request.uint32(16)) << 32n),
	};
}

export function negotiate(offer: KernelOffer, maxWriteBytes: number): Negotiation {
	if (offer.major > protocol.major) return { kind: "retry" };
	if (offer.major < protocol.major || offer.minor < protocol.oldestMinor) return { kind: "too-old" };
	let flags = wanted & offer.flags;
	if (flags >> 32n !== 0n) flags |= initFlags.extended;
	const hasMaxPages = (flags & initFlags.maxPages) !== 0n;
	return {
		kind: "agreed",
		connection: {
			minor: Math.min(offer.minor, protocol.minor),
			maxReadAheadBytes,
			maxWriteBytes: hasMaxPages ? maxWriteBytes : Math.min(maxWriteBytes, withoutMaxPagesBytes),
			flags: flags.toString(16),
		},
	};
}

/** Writes struct fuse_init_out; returns its length in bytes. */
export function encodeConnection(target: DataView, at: number, connection: KernelConnection): number {
	for (let offset = 0; offset < sizes.init; offset += 4) target.setUint32(at + offset, 0, true);
	const flags = BigInt(`0x${connection.flags}`);
	target.setUint32(at, protocol.major, true);
	target.setUint32(at + 4, connection.minor, true);
	target.setUint32(at + 8, connection.maxReadAheadBytes, true);
	target.setUint32(at + 12, Number(flags & 0xff_ff_ff_ffn), true);
	target.setUint16(at + 16, background.maximum, true);
	target.setUint16(at + 18, background.congested, true);
	target.setUint32(at + 20, connection.maxWriteBytes, true);
	target.setUint32(at + 24, timeGranularityNanoseconds, true);
	target.setUint16(at + 28, (flags & initFlags.maxPages) === 0n ? 0 : connection.maxWriteBytes / pageBytes, true);
	target.setUint32(at + 32, Number(flags >> 32n), true);
	return sizes.init;
}

/** Only the version: what a kernel with a newer major version is told. */
export function encodeVersion(target: DataView, at: number): number {
	return encodeConnection(target, at, { minor: protocol.minor, maxReadAheadBytes: 0, maxWriteBytes: 0, flags: "0" });
}
