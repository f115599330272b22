/** What runs in each thread: it is told what to do by the main one, and tells how that went. */
import { parentPort, workerData } from "node:worker_threads";
import type { ReplyOrder } from "../fuse/far-replies.ts";
import { serveReply } from "../fuse/served-replies.ts";
import type { FarOrder } from "../s3/http/far-messages.ts";
import { ServedConnections } from "../s3/http/served-connections.ts";
import { clockMs, type ThreadMessage } from "../threads.ts";

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- not a window
const post = (message: ThreadMessage): void => parentPort?.postMessage(message);
const connections = new ServedConnections(post, clockMs() - (workerData as { readonly clockMs: number }).clockMs);

parentPort?.on("message", (message: FarOrder | ReplyOrder) => {
	switch (message.to) {
		case "connections":
			connections.obey(message);
			return;
		case "replies":
			serveReply(message, post);
			return;
		default:
			message satisfies never;
	}
});
post({ to: "threads" });
