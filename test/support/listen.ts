import { once } from "node:events";
import { createServer, type Server } from "node:net";

/** Listens on 127.0.0.1, at any free port unless one is given, and returns the port. */
export async function listen(server: Server, port = 0): Promise<number> {
	server.listen(port, "127.0.0.1");
	await once(server, "listening");
	const address = server.address();
	if (address === null || typeof address === "string") throw new Error("not a TCP server");
	return address.port;
}

/** A port of 127.0.0.1 at which nobody listens, for a program that is to. */
export async function freePort(): Promise<number> {
	const server = createServer();
	const port = await listen(server);
	server.close();
	await once(server, "close");
	return port;
}
