import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import type { KernelConnection } from "../../src/fuse/filesystem.ts";
import { openAndMount } from "../../src/fuse/mount.ts";
import { readMountinfo } from "../../src/mounts/mountinfo.ts";
import { answerOf } from "../support/child-answer.ts";

export interface ServedMemory {
	readonly asLinux418?: boolean;
	/** Where libfuse is to mount it. */
	readonly libfuse?: string;
	/** How long the kernel may believe what it was told. Default: a minute. */
	readonly validMs?: number;
}

export type ToServer =
	| { readonly kind: "stats" }
	| { readonly kind: "replace"; readonly name: string; readonly content: string }
	| { readonly kind: "unlink"; readonly name: string }
	/** From now on the results of these operations wait; those that did so until now come. */
	| { readonly kind: "hold"; readonly operations: readonly string[] };

export interface ServerStatistics {
	readonly remembered: number;
	readonly nodeCount: number;
	readonly mostReads: number;
	readonly mostWrites: number;
	readonly interrupted: number;
	readonly requests: number;
	readonly errors: number;
	readonly inFlight: number;
	readonly notifications: number;
	/** Operations that wait because they are held. */
	readonly held: number;
	readonly openDirectories: number;
	readonly openFiles: number;
}

export type FromServer =
	| { readonly kind: "serving" }
	| { readonly kind: "done" }
	| { readonly kind: "failed"; readonly reason: string }
	| { readonly kind: "stats"; readonly stats: ServerStatistics; readonly connection?: KernelConnection }
	| { readonly kind: "ended"; readonly how: string; readonly isDestroyed: boolean }
	| { readonly kind: "log"; readonly level: string; readonly message: string; readonly fields: object };

type Message<Kind extends FromServer["kind"]> = FromServer & { readonly kind: Kind };

const answerLimitMs = 15_000;

/** A filesystem in memory as a folder, served by a process of its own. The test's own process must not touch the folder. */
export class MountedMemory {
	readonly path: string;
	readonly log: string[] = [];
	/** What the server said of its end. */
	readonly ended: Promise<Message<"ended"> | undefined>;
	readonly #folder: string;
	readonly #process: ChildProcess;
	readonly #exited: Promise<unknown>;
	#isCleared = false;

	private constructor(folder: string, server: ChildProcess) {
		this.#folder = folder;
		this.path = join(folder, "mount");
		this.#process = server;
		this.#exited = once(server, "exit");
		let ending: Message<"ended"> | undefined;
		server.on("message", (message: FromServer) => {
			if (message.kind === "ended") ending = message;
			if (message.kind === "log") this.log.push(`${message.message} ${JSON.stringify(message.fields)}`);
		});
		server.stderr?.on("data", (text: Buffer) => void this.log.push(text.toString().trimEnd()));
		this.ended = this.#exited.then(() => ending);
	}

	static async mount(served: Omit<ServedMemory, "libfuse"> = {}): Promise<MountedMemory> {
		const folder = await mkdtemp(join(tmpdir(), "fluid-fuse-memory-"));
		const target = join(folder, "mount");
		await mkdir(target);
		const fd = await openAndMount({
			target,
			source: "memory",
			subtype: "memory",
			readOnly: false,
			allowOther: true,
			signal: AbortSignal.timeout(10_000),
		});
		try {
			return await MountedMemory.#serve(folder, fd, served);
		} finally {
			// The server alone keeps the mount alive.
			closeSync(fd);
		}
	}

	static async mountLibfuse(): Promise<MountedMemory> {
		const folder = await mkdtemp(join(tmpdir(), "fluid-fuse-memory-"));
		const target = join(folder, "mount");
		await mkdir(target);
		return MountedMemory.#serve(folder, "ignore", { libfuse: target });
	}

	static async #serve(folder: string, fd: number | "ignore", served: ServedMemory): Promise<MountedMemory> {
		const server = spawn(process.execPath, [join(import.meta.dirname, "serve-memory.ts")], {
			cwd: "/",
			env: { ...process.env, UV_THREADPOOL_SIZE: "12" },
			stdio: ["ignore", "ignore", "pipe", fd, "ipc"],
		});
		const mounted = new MountedMemory(folder, server);
		try {
			await mounted.#ask({ kind: "start", served }, "serving");
		} catch (error) {
			await mounted.clear();
			throw error;
		}
		return mounted;
	}

	async stats(): Promise<ServerStatistics & { readonly connection: KernelConnection | undefined }> {
		const { stats, connection } = await this.#ask({ kind: "stats" }, "stats");
		return { ...stats, connection };
	}

	/** Gives a file of the root another content behind the kernel's back, and then says so. */
	async replace(name: string, content: string): Promise<void> {
		await this.#ask({ kind: "replace", name, content }, "done");
	}

	async unlink(name: string): Promise<void> {
		await this.#ask({ kind: "unlink", name }, "done");
	}

	async hold(...operations: string[]): Promise<void> {
		await this.#ask({ kind: "hold", operations }, "done");
	}

	async kill(): Promise<void> {
		this.#process.kill("SIGKILL");
		await this.#exited;
	}

	/** Unmounts as an operator does, and waits for the server's end. */
	async unmount(): Promise<Message<"ended"> | undefined> {
		try {
			await execa("umount", [this.path], { timeout: 20_000 });
			const ending = await Promise.race([this.ended, sleep(10_000, "running" as const, { ref: false })]);
			if (ending === "running") throw new Error(`the server did not end after its unmount\n${this.log.join("\n")}`);
			return ending;
		} finally {
			await this.clear();
		}
	}

	/** Frees whoever is stuck in the mount, and leaves neither mount nor process nor files. Calling it twice is fine. */
	async clear(): Promise<void> {
		if (this.#isCleared) return;
		this.#isCleared = true;
		if (await this.isMounted()) await execa("umount", ["-f", "-l", this.path], { reject: false, timeout: 10_000 });
		await this.kill();
		if (!(await this.isMounted())) await rm(this.#folder, { recursive: true, force: true });
	}

	async isMounted(): Promise<boolean> {
		return (await readMountinfo()).some(({ mountPoint }) => mountPoint === this.path);
	}

	async #ask<Kind extends FromServer["kind"]>(
		question: ToServer | { readonly kind: "start"; readonly served: ServedMemory },
		kind: Kind,
	): Promise<Message<Kind>> {
		const answered = answerOf<FromServer, Kind>(this.#process, kind, { limitMs: answerLimitMs, log: this.log });
		this.#process.send(question.kind === "start" ? question.served : question);
		return answered;
	}
}
