import { once } from "node:events";
import type { Server } from "node:net";

/** Listens on 127.0.0.1, at any free port unless one is given, and returns the port. */
export async function listen(server: Server, port = 0): Promise<number> {
	server.listen(port, "127.0.0.1");
	await once(server, "listening");
	const address = server.address();
	if (address === null || typeof address === "string") throw new Error("not a TCP server");
	return address.port;
}
