import { bucketsPod, minioPod, type S3DriverUnderTest } from "../support/s3-drivers.ts";
import type { Minio } from "../support/minio.ts";
import { MiniatureNode, type Application, type Storage } from "../support/node.ts";

export interface Setting {
	readonly driver: S3DriverUnderTest;
	/** The node's /proc is mounted in the storage pod. */
	readonly seesNode: boolean;
	readonly readOnly: boolean;
	/** Two mounts instead of one. */
	readonly several: boolean;
}

/** Ways for the storage container to end, each up to where the next one is there. */
export const endings = {
	"`kill -9` of the driver": async (life) => {
		const { mounts } = await life.storage.status();
		life.storage.killInside(mounts[0]?.pid ?? 0, "KILL");
		await life.untilBroken();
	},
	"`kill -9` of the launcher": async (life) => {
		life.storage.killInside((await life.storage.status()).pid, "KILL");
		await life.storage.ended();
		life.startStorage();
	},
	"SIGTERM, and a restart in place": async (life) => {
		life.storage.signal("SIGTERM");
		await life.storage.ended();
		life.startStorage();
	},
	"deletion of the pod: preStop and SIGTERM": async (life) => {
		await life.deletePod();
		life.startStorage();
	},
	"rolling update: the next one comes after the last one has gone": async (life) => {
		await life.deletePod();
		await life.untilBroken();
		life.startStorage();
	},
	"restart by the liveness probe, since the launcher stands still": async (life) => {
		life.storage.killInside((await life.storage.status()).pid, "STOP");
		await life.storage.preStop();
		// SIGTERM finds nobody, and the grace period ends.
		life.storage.signal("SIGKILL");
		await life.storage.ended();
		life.startStorage();
	},
} satisfies Record<string, (life: Life) => Promise<void>>;

/** What applications see between an end and the next start; the last one only for a moment, before the driver is cut off. */
export const expectedErrors = ["ENOTCONN", "ECONNABORTED", "EROFS"];

export interface Healing {
	/** From the first error that an application saw to the last. */
	readonly brokenS: number;
	/** From when the next storage container was ready. */
	readonly healedAfterS: number;
	/** The errors. */
	readonly saw: readonly string[];
}

/** A Dataset on a node, with applications that use it. */
export class Life {
	readonly node: MiniatureNode;
	readonly setting: Setting;
	storage: Storage;
	#started = 0;
	readonly #applications: { readonly application: Application; readonly published: string }[] = [];

	private constructor(node: MiniatureNode, setting: Setting, storage: Storage) {
		this.node = node;
		this.setting = setting;
		this.storage = storage;
	}

	/** Up to where a storage container is ready. */
	static async begin(minio: Minio, setting: Setting): Promise<Life> {
		const { driver, readOnly, several } = setting;
		const shared = {
			accessModes: [readOnly ? "ReadOnlyMany" : "ReadWriteMany"],
			env: { FLUID_FUSE_DRIVER: driver.name, FLUID_FUSE_STOP_TIMEOUT: "5s" },
			...(driver.programs !== undefined && { programs: driver.programs }),
			// The kernel answers a stat of a dead mount for so long.
			...(driver.name === "native" && { runtimeOptions: { ttl: "1s" } }),
		};
		const node = await MiniatureNode.start(
			several
				? { ...bucketsPod(minio, minio.endpoint, ["one", "two"]), ...shared }
				: minioPod(minio, "one", driver, shared),
		);
		try {
			const life = new Life(node, setting, node.startStorage(setting));
			await life.storage.untilReady();
			return life;
		} catch (error) {
			await node.stop();
			throw error;
		}
	}

	startStorage(setting: Parameters<MiniatureNode["startStorage"]>[0] = this.setting): void {
		this.storage = this.node.startStorage(setting);
	}

	async startApplication(): Promise<void> {
		const { readOnly, several } = this.setting;
		const number = this.#started++;
		const published = this.node.publish(`0f8b5d2e-3c1a-4e67-9b21-7d5a6c4e8f1${number}`, { readOnly });
		const read = several ? ["one/hello.txt", "two/hello.txt"] : ["hello.txt"];
		const write = readOnly ? {} : { write: `${several ? "two/" : ""}written-by-${number}` };
		const application = this.node.startApplication(published, { read, ...write });
		this.#applications.push({ application, published });
		await application.untilGood();
	}

	/** Each application is well. Returns when the last one was. */
	async untilGood(): Promise<number> {
		const goodAt = await Promise.all(this.#applications.map(async ({ application }) => application.untilGood()));
		return Math.max(...goodAt);
	}

	async untilBroken(): Promise<void> {
		await Promise.all(this.#applications.map(async ({ application }) => application.untilBroken()));
	}

	/** What kubelet does; the storage container has ended afterwards. */
	async deletePod(): Promise<void> {
		const exitCode = await this.storage.preStop();
		if (exitCode !== 0) throw new Error(`preStop has ended with ${exitCode}:\n${this.storage.output}`);
		if (this.storage.isRunning) this.storage.signal("SIGTERM");
		await this.storage.ended();
	}

	/** Ends the storage container, and waits until the next one is ready and each application is well. */
	async end(how: keyof typeof endings): Promise<Healing> {
		const before = this.#applications.map(({ application }) => application.sights.length);
		await endings[how](this);
		await this.storage.untilReady();
		const readyAt = performance.now();
		const goodAt = await this.untilGood();
		const sights = this.#applications.map(({ application }, index) => application.sights.slice(before[index]));
		const broken = sights.map((seen) => (seen.at(-1)?.at ?? 0) - (seen[0]?.at ?? 0));
		return {
			brokenS: Math.max(...broken) / 1000,
			healedAfterS: (goodAt - readyAt) / 1000,
			saw: [...new Set(sights.flat().map(({ what }) => what))].filter((what) => what !== "ok"),
		};
	}

	/** The applications go, or some of them, and their volumes with them. */
	async endApplications(first = 0, count = this.#applications.length): Promise<void> {
		for (const { application, published } of this.#applications.splice(first, count)) {
			application.signal("SIGTERM");
			await application.ended();
			await this.node.unpublish(published);
		}
	}

	/** What of the Dataset is mounted on the node. */
	left(): string[] {
		const { target, folder } = this.node.layout;
		const entries = this.node.mounts().filter(({ type, mountPoint }) => {
			return type.startsWith("fuse") || mountPoint.startsWith(target) || mountPoint.startsWith(`${folder}/kubelet/`);
		});
		return [...new Set(entries.map(({ mountPoint }) => mountPoint))];
	}
}
