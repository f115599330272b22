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

const MiB = 1024 ** 2;

/** S3's limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
export const s3Limits = {
	parts: 10_000,
	smallestPartBytes: 5 * MiB,
	largestPartBytes: 5 * 1024 * MiB,
	objectBytes: 5 * 1024 ** 2 * MiB,
} as const;

/** 8 MiB up to 15.6 GiB, 64 MiB up to 140 GiB, 850 MiB up to 5 TiB: few files are long enough to need large parts. */
export const s3PartGrid: PartGrid = createPartGrid({
	tiers: [
		{ partBytes: 8 * MiB, count: 2000 },
		{ partBytes: 64 * MiB, count: 2000 },
		{ partBytes: 850 * MiB, count: 6000 },
	],
	maximumSizeBytes: s3Limits.objectBytes,
	copyBytes: 1024 * MiB,
});

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
