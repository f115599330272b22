import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { listen } from "./listen.ts";

/** A server as it is seen from far away. */
export interface Distance {
	/** Use it in place of the server's, and sign for it: bytes pass through unchanged. */
	readonly endpoint: string;
	/** Closes everything. */
	stop(): Promise<void>;
}

/** What is on its way on one connection in one direction at most, as with TCP's windows. */
const windowBytes = 8 * 1024 ** 2;

/** Starts a proxy on a free port of 127.0.0.1 whose bytes take half of the time each way; a connection takes all of it once more. */
export async function startDistance(targetUrl: string, roundTripMs: number): Promise<Distance> {
	const { hostname, port } = new URL(targetUrl);
	const sockets = new Set<Socket>();
	// `allowHalfOpen`: an end takes its time, as bytes do.
	const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
		const far = connect({ host: hostname, port: Number(port), allowHalfOpen: true, noDelay: true });
		for (const [socket, other] of [
			[near, far],
			[far, near],
		] as const) {
			sockets.add(socket);
			socket.on("error", () => undefined);
			socket.on("close", () => {
				sockets.delete(socket);
				other.destroySoon();
			});
		}
		delayed(near, far, roundTripMs / 2, performance.now() + 1.5 * roundTripMs);
		delayed(far, near, roundTripMs / 2);
	});
	const localPort = await listen(server);
	return {
		endpoint: `http://127.0.0.1:${localPort}`,
		async stop() {
			for (const socket of sockets) socket.destroy();
			if (!server.listening) return;
			server.close();
			await once(server, "close");
		},
	};
}

/** Hands on what comes, so much later, and not before `firstAt`. */
function delayed(from: Socket, to: Socket, delayMs: number, firstAt = 0): void {
	/** Undefined: the end. */
	const onTheWay: { readonly chunk: Buffer | undefined; readonly dueAt: number }[] = [];
	let heldBytes = 0;
	let isWaiting = false;
	const handOn = (): void => {
		isWaiting = false;
		for (let [next] = onTheWay; next !== undefined; [next] = onTheWay) {
			const leftMs = next.dueAt - performance.now();
			if (leftMs > 0 || to.writableNeedDrain) {
				isWaiting = true;
				if (leftMs > 0) setTimeout(handOn, leftMs);
				else to.once("drain", handOn);
				return;
			}
			onTheWay.shift();
			if (next.chunk === undefined) {
				to.end();
				return;
			}
			heldBytes -= next.chunk.length;
			to.write(next.chunk);
			if (heldBytes < windowBytes) from.resume();
		}
	};
	const take = (chunk: Buffer | undefined): void => {
		onTheWay.push({ chunk, dueAt: Math.max(firstAt, performance.now() + delayMs) });
		heldBytes += chunk?.length ?? 0;
		if (heldBytes >= windowBytes) from.pause();
		if (!isWaiting) handOn();
	};
	from.on("data", take);
	from.on("end", () => take(undefined));
}
