import { type ByteRange, mebibyte } from "../../bytes.ts";

const pageBytes = 4096;
/** Requests for less than that cost more than they bring. */
const smallestPieceBytes = 128 * 1024;
/** What a file's first read brings at least, before anything is known of the reader. */
const firstBytes = mebibyte;

/** As little as possible: what random reads get. `room` is where nothing is in memory yet. */
export function wholePages(gap: ByteRange, room: ByteRange): ByteRange {
	return {
		start: Math.max(room.start, roundDown(gap.start, pageBytes)),
		end: Math.min(room.end, roundUp(gap.end, pageBytes)),
	};
}

/** For the first read of a file, which is likely to go on: a little more than it asks for. */
export function firstFetch(gap: ByteRange, room: ByteRange, maximumBytes: number): ByteRange {
	const { start, end: least } = wholePages(gap, room);
	const end = Math.min(roundUp(gap.end + smallestPieceBytes, firstBytes), start + maximumBytes);
	return { start, end: Math.min(room.end, Math.max(least, end)) };
}

/** For a reader in order whose read-ahead was not enough, or was given up. */
export function streamFetch(gap: ByteRange, room: ByteRange, windowBytes: number, maximumBytes: number): ByteRange {
	const { start, end: least } = wholePages(gap, room);
	const pieceBytes = bytesAPiece(windowBytes, maximumBytes);
	const unit = Math.min(pieceBytes, firstBytes);
	const end = Math.max(roundUp(gap.end, unit), roundDown(gap.start + pieceBytes, unit));
	return { start, end: Math.min(room.end, Math.max(least, end)) };
}

/**
 * Where the next request of a read-ahead ends. Ends are multiples of the size, so that pieces of several readers and of several runs meet; there are
 * about four to a window.
 */
export function pieceEnd(position: number, windowBytes: number, maximumBytes: number): number {
	let pieceBytes = bytesAPiece(windowBytes, maximumBytes);
	while (pieceBytes > smallestPieceBytes && position % pieceBytes !== 0) pieceBytes /= 2;
	if (position % pieceBytes === 0) return position + pieceBytes;
	return roundUp(position + pieceBytes, pieceBytes);
}

/** A power of two. */
function bytesAPiece(windowBytes: number, maximumBytes: number): number {
	const wanted = Math.max(windowBytes / 4, Math.min(windowBytes, firstBytes));
	return 2 ** Math.floor(Math.log2(Math.max(pageBytes, Math.min(wanted, maximumBytes))));
}

function roundUp(position: number, unit: number): number {
	return Math.ceil(position / unit) * unit;
}

function roundDown(position: number, unit: number): number {
	return Math.floor(position / unit) * unit;
}
