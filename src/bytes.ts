export const mebibyte = 1024 ** 2;

/** Bytes from `start` to before `end`. */
export interface ByteRange {
	readonly start: number;
	readonly end: number;
}
