import { afterAll, afterEach, beforeAll } from "vitest";
import { startMinio, type Minio } from "../support/minio.ts";
import { StorageContainer, type StorageContainerOptions } from "./storage-container.ts";
import { buildLimitMs, takeImages, type Images } from "./store.ts";

/** What the tests of one file share, and the container of each. */
export interface UsedImages {
	readonly images: Images;
	readonly minio: Minio;
	/** Starts a container; after the test it is gone, whatever happened. */
	start(reference: string, options: StorageContainerOptions): Promise<StorageContainer>;
}

/** Builds the images, unless they are there, and starts a server for the tests of this file. */
export function useImages(): UsedImages {
	let images: Images | undefined;
	let minio: Minio | undefined;
	let container: StorageContainer | undefined;

	beforeAll(async () => {
		images = await takeImages();
		minio = await startMinio();
	}, buildLimitMs);
	afterEach(async () => {
		await container?.remove();
		container = undefined;
	});
	afterAll(async () => {
		await minio?.stop();
		await images?.release();
	});

	const started = <T>(value: T | undefined): T => {
		if (value === undefined) throw new Error("only tests and their hooks have it");
		return value;
	};
	return {
		get images() {
			return started(images);
		},
		get minio() {
			return started(minio);
		},
		async start(reference, options) {
			container = new StorageContainer(reference, options);
			await container.start();
			return container;
		},
	};
}
