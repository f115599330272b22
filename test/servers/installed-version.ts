import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { cachedBinaries } from "../support/pod.ts";

/** The pin with which `test/setup.sh` built it. */
export async function installedVersion(name: string): Promise<string> {
	return (await readFile(join(cachedBinaries, `${name}.version`), "utf8")).trim().replace(/ .*/s, "");
}
