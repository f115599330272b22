import * as z from "zod";
import { mebibyte } from "../bytes.ts";
import { choice, duration, flag, integer, path, secret, size, text } from "../options/option.ts";
import type { DriverFault, Mount } from "./driver.ts";
import { s3Faults } from "./s3-driver.ts";
import { s3Options } from "./s3-options.ts";

/** What the native driver can be told. */
export const nativeOptions = z.strictObject({
	...s3Options,
	memory: size(
		{
			description:
				"Memory for parts of objects that are read; names and what the kernel knows of them take up to three eighths of it besides, and at least 36Mi (SEMANTICS.md), and answers of the server that are being read 32Mi at most. Default: a quarter of the container's limit, 512Mi at most.",
		},
		{ min: 16 * mebibyte },
	),
	threads: integer(
		{
			description:
				"Threads beside the main one that receive and send large parts of objects, and answer large reads; 0: none. They start when there is such work, and each takes some 15 MB. Default: none where fewer than four processors can be used, otherwise two less than those, 8 at most, and no more than fit into an eighth of the container's memory.",
		},
		{ min: 0, max: 64 },
	),
	"read-ahead": size({ description: "How far one sequential reader is read ahead of at most. Default: 64Mi." }),
	"cache-dir": path({ description: "Folder on a disk where parts of objects, and what is being written, are kept." }),
	"cache-size": size(
		{ description: "How much of that disk parts of objects may fill. Default: 10Gi." },
		{ min: 64 * mebibyte },
	),
	"write-buffer": size(
		{
			description:
				"How much may be written and not be uploaded yet; below 1940Mi it limits how long a file can be (SEMANTICS.md). Default: half of memory, at least 64Mi; with cache-dir 4Gi.",
		},
		{ min: 16 * mebibyte },
	),
	"write-back": flag({
		description:
			"Closing a file waits for the disk of cache-dir only, and the bucket gets it behind; a lost node loses what it had not yet (SEMANTICS.md). Default: false.",
	}),
	"write-back-age": duration({
		description:
			"How long a closed file may wait for the bucket before closing others waits for the bucket, too. Default: 30s.",
	}),
	ttl: duration({
		description:
			"How long names and attributes are believed before the server is asked again; 0 asks every time. Default: 60s.",
		aliases: ["stat-cache-ttl"],
	}),
	attributes: choice(["listed", "all"], {
		description:
			"Where modes, owners, times and links come from: listings, as far as the server lists them, or a request for each name. Default: listed.",
	}),
	"use-content-type": flag({
		description:
			"Give new files a Content-Type by their extension, and renamed ones another; files that are there keep what they have. Default: true.",
	}),
	transport: choice(["direct", "libfuse"], {
		description:
			"How the kernel is spoken to: over /dev/fuse itself, or by libfuse 2, which mounts without the program mount but is slower and can do less (docs/libfuse.md). Default: direct.",
	}),
	"max-requests": integer(
		{
			description: "Requests to the server at a time; fewer while it throttles. Default: 32.",
			aliases: ["max_requests"],
		},
		{ min: 1, max: 256 },
	),
	"connect-timeout": duration({ description: "Time limit of one connection. Default: 5s." }),
	"http-timeout": duration({
		description: "How long the server may be silent, or slower than 1 KiB a second. Default: 30s.",
	}),
	"retry-for": duration({
		description: "How long a request is tried again before an application gets an error. Default: 60s.",
	}),
	sse: flag({ description: "Encrypt new objects with keys of S3 (SSE-S3). Default: false." }),
	"sse-kms": text(
		{ description: "Encrypt new objects with this KMS key; empty: the account's own." },
		/^[\w:/-]*$/,
		"a KMS key id",
	),
	"sse-c": secret({
		description: "Encrypt and decrypt all objects with this key (SSE-C): 32 bytes in base64. Needs https.",
	}),
});

export type NativeOptions = z.output<typeof nativeOptions>;

/** What is wrong with options that are each right by themselves. */
export function nativeFaults(mount: Mount, given: NativeOptions): DriverFault[] {
	const found = s3Faults(mount, given);
	const fault = (name: string, message: string): void => {
		found.push({ at: { kind: "option", name }, message });
	};
	if (given["cache-size"] !== undefined && given["cache-dir"] === undefined)
		fault("cache-size", "given without cache-dir");
	const writesBack = given["write-back"] === true;
	if (writesBack && given["cache-dir"] === undefined)
		fault(
			"write-back",
			"needs cache-dir, on a disk that outlives the container: closed files are kept there until they are uploaded",
		);
	if (writesBack && given.transport === "libfuse") fault("write-back", "cannot be combined with transport=libfuse");
	if (given["write-back-age"] !== undefined && !writesBack) fault("write-back-age", "given without write-back");
	const encryptions = (["sse", "sse-kms", "sse-c"] as const).filter(
		(name) => given[name] !== undefined && given[name] !== false,
	);
	if (encryptions.length > 1) fault(encryptions[1] ?? "sse", `cannot be combined with ${encryptions[0]}`);
	const key = given["sse-c"]?.reveal();
	if (key !== undefined && Buffer.from(key, "base64").length !== 32) fault("sse-c", "expected 32 bytes in base64");
	return found;
}
