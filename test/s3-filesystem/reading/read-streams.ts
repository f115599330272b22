import { createMemoryBudget } from "../../../src/s3-filesystem/reading/memory-budget.ts";
import { createReading } from "../../../src/s3-filesystem/reading/reading.ts";
import { readInOrder } from "./reads.ts";
import { isStamped } from "./stamped.ts";
import { createTestStore, testThreads } from "../../support/threads.ts";

/** What the test wants to be read, all files at the same time. */
export interface Order {
	readonly endpoint: string;
	readonly accessKeyId: string;
	readonly secretAccessKey: string;
	readonly bucket: string;
	readonly keys: readonly string[];
	readonly budgetBytes: number;
}

export interface Outcome {
	readonly isRight: boolean;
	readonly readBytes: number;
	readonly fetchedBytes: number;
	readonly mostUsedBytes: number;
	readonly rssBeforeBytes: number;
	readonly mostRssBytes: number;
}

/** In a process of its own, since its memory is what is measured. */
async function readStreams(order: Order): Promise<Outcome> {
	const { endpoint, accessKeyId, secretAccessKey, bucket, keys, budgetBytes } = order;
	const store = createTestStore({
		endpoint: new URL(endpoint),
		region: "us-east-1",
		bucket,
		pathStyle: true,
		credentials: { accessKeyId, secretAccessKey },
	});
	const versions = await Promise.all(
		keys.map(async (key) => {
			const { etag, sizeBytes } = await store.head(key);
			return { key, etag, sizeBytes };
		}),
	);
	const budget = createMemoryBudget(budgetBytes, { isShared: testThreads !== undefined });
	const reading = createReading({ budget });
	const rssBeforeBytes = process.memoryUsage.rss();
	let [isRight, readBytes, mostUsedBytes, mostRssBytes] = [true, 0, 0, 0];
	await Promise.all(
		versions.map(async (version, index) => {
			const reader = reading.open(store, version, bucket);
			await readInOrder(reader, {
				end: version.sizeBytes,
				see: (offset, bytes) => {
					isRight &&= isStamped(bytes, index, offset);
					readBytes += bytes.length;
					mostUsedBytes = Math.max(mostUsedBytes, budget.usedBytes);
					mostRssBytes = Math.max(mostRssBytes, process.memoryUsage.rss());
				},
			});
			reader.close();
		}),
	);
	store.close();
	const fetchedBytes = reading.stats["fetched_bytes"] ?? 0;
	return { isRight, readBytes, fetchedBytes, mostUsedBytes, rssBeforeBytes, mostRssBytes };
}

process.once("message", (order: Order) => {
	void readStreams(order).then((outcome) => process.send?.(outcome, () => process.disconnect()));
});
