import { appendFile, mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { noise } from "../s3/bucket.ts";
import { listen } from "../support/listen.ts";
import { useBuckets } from "./buckets.ts";

const buckets = useBuckets("balancer");
let stop: (() => void) | undefined;
afterEach(() => stop?.());

/** What is between a client and its server and passes on bytes. */
interface Manner {
	/** Closes what nobody has used for so long. */
	readonly idleMs?: number;
	/** Closes every third connection on which another request begins: instead of passing it on, or when the server answers. */
	readonly cuts?: "requests" | "answers";
}

async function startBalancer({ idleMs, cuts }: Manner): Promise<{ endpoint: string; readonly closed: number }> {
	const target = new URL(buckets.minio.endpoint);
	const sockets = new Set<Socket>();
	let requests = 0;
	let closed = 0;
	const server = createServer({ noDelay: true }, (near) => {
		const far = connect({ host: target.hostname, port: Number(target.port), noDelay: true });
		/** The last bytes were the server's: what comes next is another request, on a kept connection. */
		let isAnswered = false;
		let isCut = false;
		let idle: NodeJS.Timeout | undefined;
		for (const socket of [near, far]) {
			sockets.add(socket);
			socket.on("error", () => undefined);
			socket.on("close", () => {
				sockets.delete(socket);
				clearTimeout(idle);
				near.destroySoon();
				far.destroySoon();
			});
		}
		const cut = (): void => {
			closed++;
			near.resetAndDestroy();
		};
		near.on("data", (bytes) => {
			clearTimeout(idle);
			if (isAnswered) isCut = cuts !== undefined && ++requests % 3 === 0;
			isAnswered = false;
			if (isCut && cuts === "requests") cut();
			else far.write(bytes);
		});
		far.on("data", (bytes) => {
			if (isCut) return cut();
			isAnswered = true;
			near.write(bytes);
			clearTimeout(idle);
			if (idleMs !== undefined) idle = setTimeout(cut, idleMs);
		});
	});
	const port = await listen(server);
	stop = () => {
		for (const socket of sockets) socket.destroy();
		server.close();
	};
	return {
		endpoint: `http://127.0.0.1:${port}`,
		get closed() {
			return closed;
		},
	};
}

describe("a balancer is not seen by who reads and writes that closes", () => {
	test.each<[string, Manner]>([
		["what was idle for a moment", { idleMs: 40 }],
		["a connection as a request is sent", { cuts: "requests" }],
		["a connection before it has passed on the answer", { cuts: "answers" }],
	])("%s", async (_, manner) => {
		const balancer = await startBalancer(manner);
		const here = await buckets.mount({ endpoint: balancer.endpoint, volume: { ttlMs: 0 } });
		for (let round = 0; round < 8; round++) {
			const directory = join(here.target, `d${round}`);
			const bytes = noise(200_000 + round, round);
			await mkdir(directory);
			// Must not be there yet: what the answer that got lost was about is not taken for another's.
			await writeFile(join(directory, "file"), bytes, { flag: "wx" });
			if (manner.idleMs !== undefined) await sleep(manner.idleMs);
			await appendFile(join(directory, "file"), "more");
			await rename(join(directory, "file"), join(directory, "other"));
			expect(await readdir(directory)).toEqual(["other"]);
			const found = await readFile(join(directory, "other"));
			expect(found.equals(Buffer.concat([bytes, Buffer.from("more")]))).toBe(true);
			if (round % 2 === 1) await rm(directory, { recursive: true });
		}
		await here.unmount();
		expect((await buckets.minio.list(buckets.name)).filter((key) => !key.endsWith("/"))).toEqual(
			[0, 2, 4, 6].map((round) => `d${round}/other`),
		);
		expect(balancer.closed).toBeGreaterThan(5);
	});
});
