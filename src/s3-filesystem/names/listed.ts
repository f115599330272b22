import type { ObjectMetadata } from "../../s3/object-store.ts";

/** One name of a directory, as the server lists it. */
export interface Listed {
	readonly name: string;
	readonly kind: "directory" | "file";
	readonly sizeBytes: number;
	readonly modifiedMs: number;
	readonly etag: string;
	readonly metadata?: ObjectMetadata;
}

export function listedDirectory(name: string): Listed {
	return { name, kind: "directory", sizeBytes: 0, modifiedMs: 0, etag: "" };
}

/** Relative to the directory, as the server sorts it: of a directory, what all keys in it begin with. */
export function listedKey({ name, kind }: Listed): string {
	return kind === "directory" ? `${name}/` : name;
}
