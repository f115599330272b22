import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { StartContext } from "../../src/drivers/driver.ts";
import { createIdentity } from "../../src/s3/identity/identity.ts";
import { layersAt, readMountinfo } from "../../src/mounts/mountinfo.ts";

/** What the launcher gives a driver: an empty mountpoint and a private directory. */
export class DriverFolder {
	readonly path = mkdtempSync(join(tmpdir(), "fluid-fuse-driver-"));
	readonly mountpoint = join(this.path, "mountpoint");
	readonly directory = join(this.path, "private");

	constructor() {
		for (const path of [this.mountpoint, this.directory]) mkdirSync(path, { mode: 0o700 });
	}

	context(options: Pick<StartContext, "continuesAfterCrash" | "onContinued"> = {}): StartContext {
		return {
			signal: AbortSignal.timeout(60_000),
			variables: process.env,
			identity: createIdentity(process.env),
			log: pino({ level: "silent" }),
			mountpoint: this.mountpoint,
			directory: this.directory,
			hangTimeoutMs: 60_000,
			onDroppedLines: () => undefined,
			...options,
		};
	}

	/** Takes down by force what is mounted, and removes everything. The drivers must have ended. */
	async remove(): Promise<void> {
		while (layersAt(await readMountinfo(), this.mountpoint).length > 0)
			execFileSync("umount", ["-f", "-l", this.mountpoint]);
		// Never recursively while anything could be mounted there.
		rmdirSync(this.mountpoint);
		rmSync(this.path, { recursive: true });
	}
}
