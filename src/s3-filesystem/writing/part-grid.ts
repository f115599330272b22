import { mebibyte } from "../../bytes.ts";

/** Where the parts of a multipart upload begin and end: the same for every file, so that any part can be uploaded at any time. */
export interface PartGrid {
	/** What all parts hold together. */
	readonly maximumSizeBytes: number;
	/** Copies made by the server are joined up to this size. */
	readonly copyBytes: number;
	/** Of the part that holds this offset; its number in S3 is one higher. */
	indexAt(offset: number): number;
	startOf(index: number): number;
	sizeOf(index: number): number;
}

/** Neighbouring parts of one size. */
export interface PartTier {
	readonly partBytes: number;
	readonly count: number;
}

/** S3's limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
export const s3Limits = {
	parts: 10_000,
	smallestPartBytes: 5 * mebibyte,
	largestPartBytes: 5 * 1024 * mebibyte,
	objectBytes: 5 * 1024 ** 2 * mebibyte,
} as const;

/** 8 MiB up to 15 GiB, 64 MiB up to 140 GiB, 256 MiB up to 390 GiB, 970 MiB up to 5 TiB: few files are long enough to need large parts. */
const tiers: readonly PartTier[] = [
	{ partBytes: 8 * mebibyte, count: 2000 },
	{ partBytes: 64 * mebibyte, count: 2000 },
	{ partBytes: 256 * mebibyte, count: 1000 },
	{ partBytes: 970 * mebibyte, count: 5000 },
];

/**
 * The grid for S3 when so much can be staged, so that one part can be written while another one is sent. With less than 2 GiB, the
 * longest file is shorter than S3's longest object: 78 GiB below 128 MiB, 500 GiB below 512 MiB, 1.6 TiB otherwise.
 */
export function s3PartGrid(stagingBytes: number): PartGrid {
	const fitting = tiers.filter(({ partBytes }, index) => index === 0 || partBytes * 2 <= stagingBytes);
	const last = fitting.at(-1);
	const before = fitting.slice(0, -1);
	const count = before.reduce<number>((left, tier) => left - tier.count, s3Limits.parts);
	return createPartGrid({
		tiers: last === undefined ? before : [...before, { ...last, count }],
		maximumSizeBytes: s3Limits.objectBytes,
		copyBytes: 1024 * mebibyte,
	});
}

/** Whether a file of so many bytes has the same parts in both. */
export function isSameUpTo(sizeBytes: number, a: PartGrid, b: PartGrid): boolean {
	if (sizeBytes > Math.min(a.maximumSizeBytes, b.maximumSizeBytes)) return false;
	const last = Math.max(0, sizeBytes - 1);
	const index = a.indexAt(last);
	return index === b.indexAt(last) && a.startOf(index) === b.startOf(index) && a.sizeOf(index) === b.sizeOf(index);
}

export function createPartGrid(options: {
	readonly tiers: readonly PartTier[];
	readonly copyBytes: number;
	/** At most what the tiers hold, which is the default. */
	readonly maximumSizeBytes?: number;
}): PartGrid {
	let start = 0;
	let firstIndex = 0;
	const tiers = options.tiers.map(({ partBytes, count }) => {
		const tier = { partBytes, start, firstIndex };
		start += partBytes * count;
		firstIndex += count;
		return tier;
	});
	const tierWhere = (isPast: (tier: (typeof tiers)[number]) => boolean) => {
		const tier = tiers.findLast((tier) => !isPast(tier));
		if (tier === undefined) throw new RangeError("outside the part grid");
		return tier;
	};
	return {
		maximumSizeBytes: Math.min(options.maximumSizeBytes ?? start, start),
		copyBytes: options.copyBytes,
		indexAt(offset) {
			const tier = tierWhere(({ start }) => start > offset);
			return tier.firstIndex + Math.floor((offset - tier.start) / tier.partBytes);
		},
		startOf(index) {
			const tier = tierWhere(({ firstIndex }) => firstIndex > index);
			return tier.start + (index - tier.firstIndex) * tier.partBytes;
		},
		sizeOf: (index) => tierWhere(({ firstIndex }) => firstIndex > index).partBytes,
	};
}
