/** One version of an object, as a draft starts from it. */
export interface BaseVersion {
	readonly key: string;
	readonly etag: string;
	readonly sizeBytes: number;
}
