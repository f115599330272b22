import { changes } from "./changes.ts";
import { firstByte } from "./first-byte.ts";
import { listing } from "./listing.ts";
import { prefetch } from "./prefetch.ts";
import { randomRead } from "./random-read.ts";
import { sequential } from "./sequential.ts";
import { smallFiles } from "./small-files.ts";
import type { Sizes, Workload } from "./workload.ts";

export function workloads(sizes: Sizes): Workload[] {
	return [sequential, prefetch, smallFiles, randomRead, listing, firstByte, changes].flatMap((create) => create(sizes));
}
