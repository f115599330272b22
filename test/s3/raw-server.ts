import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";

import type { Connection } from "../../src/s3/http/connection.ts";
import { Dialer } from "../../src/s3/http/dialer.ts";
import { listen } from "../support/listen.ts";

export interface RawServer {
	readonly url: URL;
	/** Connections accepted so far. */
	readonly connections: number;
	dial(): Promise<Connection>;
	stop(): Promise<void>;
}

/** A server that answers byte by byte as it is told. `answer` is called for each request's head. */
export async function startRawServer(answer: (socket: Socket, head: string) => void): Promise<RawServer> {
	const sockets = new Set<Socket>();
	let connections = 0;
	const server: Server = createServer((socket) => {
		connections++;
		sockets.add(socket);
		socket.setNoDelay(true);
		socket.on("error", () => undefined);
		socket.on("close", () => sockets.delete(socket));
		let text = "";
		socket.on("data", (bytes: Buffer) => {
			text += bytes.toString("latin1");
			for (let end = text.indexOf("\r\n\r\n"); end !== -1; end = text.indexOf("\r\n\r\n")) {
				const head = text.slice(0, end);
				const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
				const isWhole = text.length >= end + 4 + length;
				// A body in full comes with its head, one that is announced as endless does not.
				if (!isWhole && !/x-early/.test(head)) return;
				text = text.slice(end + 4 + length);
				answer(socket, isWhole && length > 0 ? `${head}\n${length}` : head);
			}
		});
	});
	const url = new URL(`http://127.0.0.1:${await listen(server)}`);
	const dialer = new Dialer({ url, proxy: undefined, ca: undefined, connectMs: 2000 });
	return {
		url,
		get connections() {
			return connections;
		},
		dial: async () => dialer.dial(),
		async stop() {
			for (const socket of sockets) socket.destroy();
			server.close();
			await once(server, "close");
		},
	};
}
