/**
 * The CRCs that Node has not: table-driven, eight bytes a step ("slicing by 8"), about 1 CPU-second a GiB. Both are reflected, begin with
 * all ones and are inverted at the end. Words of 64 bits are two of 32, since BigInt is slower by far.
 */

const slices = 8;
const bytes = 256;

/** Castagnoli's polynomial, which iSCSI uses. */
const castagnoli = { high: 0, low: 0x82f63b78 };
/** Of the NVM Express specification. */
const nvme = { high: 0x9a6c9329, low: 0xac4bc9b5 };

interface Tables {
	readonly low: Int32Array;
	readonly high: Int32Array;
}

let castagnoliTables: Tables | undefined;
let nvmeTables: Tables | undefined;

/** CRC-32C, as a number without a sign. */
export function crc32c(data: Uint8Array): number {
	castagnoliTables ??= createTables(castagnoli);
	const table = castagnoliTables.low;
	const at = (index: number): number => table[index] as number;
	const byte = (index: number): number => data[index] as number;
	const end = data.length;
	let crc = -1;
	let i = 0;
	for (; i + slices <= end; i += slices) {
		const word = crc ^ (byte(i) | (byte(i + 1) << 8) | (byte(i + 2) << 16) | (byte(i + 3) << 24));
		crc =
			at(1792 + (word & 255)) ^
			at(1536 + ((word >>> 8) & 255)) ^
			at(1280 + ((word >>> 16) & 255)) ^
			at(1024 + (word >>> 24)) ^
			at(768 + byte(i + 4)) ^
			at(512 + byte(i + 5)) ^
			at(256 + byte(i + 6)) ^
			at(byte(i + 7));
	}
	for (; i < end; i++) crc = at((crc ^ byte(i)) & 255) ^ (crc >>> 8);
	return ~crc >>> 0;
}

/** CRC-64/NVME, as its upper and its lower half. */
export function crc64nvme(data: Uint8Array): readonly [high: number, low: number] {
	nvmeTables ??= createTables(nvme);
	const { low: lows, high: highs } = nvmeTables;
	const lowAt = (index: number): number => lows[index] as number;
	const highAt = (index: number): number => highs[index] as number;
	const byte = (index: number): number => data[index] as number;
	const end = data.length;
	let low = -1;
	let high = -1;
	let i = 0;
	for (; i + slices <= end; i += slices) {
		const first = low ^ (byte(i) | (byte(i + 1) << 8) | (byte(i + 2) << 16) | (byte(i + 3) << 24));
		const second = high ^ (byte(i + 4) | (byte(i + 5) << 8) | (byte(i + 6) << 16) | (byte(i + 7) << 24));
		const a = 1792 + (first & 255);
		const b = 1536 + ((first >>> 8) & 255);
		const c = 1280 + ((first >>> 16) & 255);
		const d = 1024 + (first >>> 24);
		const e = 768 + (second & 255);
		const f = 512 + ((second >>> 8) & 255);
		const g = 256 + ((second >>> 16) & 255);
		const h = second >>> 24;
		low = lowAt(a) ^ lowAt(b) ^ lowAt(c) ^ lowAt(d) ^ lowAt(e) ^ lowAt(f) ^ lowAt(g) ^ lowAt(h);
		high = highAt(a) ^ highAt(b) ^ highAt(c) ^ highAt(d) ^ highAt(e) ^ highAt(f) ^ highAt(g) ^ highAt(h);
	}
	for (; i < end; i++) {
		const index = (low ^ byte(i)) & 255;
		low = ((low >>> 8) | (high << 24)) ^ lowAt(index);
		high = (high >>> 8) ^ highAt(index);
	}
	return [~high >>> 0, ~low >>> 0];
}

/** What a byte does to the CRC when it is followed by none to seven zeros, one after the other. */
function createTables(polynomial: { readonly high: number; readonly low: number }): Tables {
	const low = new Int32Array(slices * bytes);
	const high = new Int32Array(slices * bytes);
	for (let index = 0; index < slices * bytes; index++) {
		let [l, h] = index < bytes ? [index, 0] : [low[index - bytes] as number, high[index - bytes] as number];
		for (let bit = 0; bit < 8; bit++) {
			const isOdd = (l & 1) === 1;
			l = (l >>> 1) | (h << 31);
			h >>>= 1;
			if (isOdd) {
				l ^= polynomial.low;
				h ^= polynomial.high;
			}
		}
		low[index] = l;
		high[index] = h;
	}
	return { low, high };
}
