/** A program that does with files what it is told, and says how it went. Several things at a time, as threads would. */
import { close, fsync, open, read, write } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { constants } from "node:os";
import { promisify } from "node:util";
import type { Order, Outcome } from "./program.ts";
import { stamped, stampsIn } from "./reading/stamped.ts";

const blockBytes = 256 * 1024;
const calls = {
	close: promisify(close),
	fsync: promisify(fsync),
	open: promisify(open),
	read: promisify(read),
	write: promisify(write),
};

process.on("message", (order: Order) => void perform(order));
process.send?.({ id: 0 });

async function perform(order: Order): Promise<void> {
	const startedAt = performance.now();
	const progress: Progress = { count: 0, stamps: new Set() };
	let result = "ok";
	try {
		await carryOut(order, progress);
	} catch (thrown) {
		result = nameOf(thrown);
	}
	const milliseconds = Math.round(performance.now() - startedAt);
	const outcome: Outcome = { id: order.id, result, milliseconds, count: progress.count, stamps: [...progress.stamps] };
	process.send?.(outcome);
}

interface Progress {
	count: number;
	readonly stamps: Set<number | undefined>;
}

async function carryOut(order: Order, progress: Progress): Promise<void> {
	switch (order.kind) {
		case "open":
			progress.count = await calls.open(order.path, order.flags);
			return;
		case "read": {
			const block = Buffer.alloc(blockBytes);
			for (let at = order.from; at < order.through;) {
				const { bytesRead } = await calls.read(order.file, block, 0, Math.min(blockBytes, order.through - at), at);
				if (bytesRead === 0) return;
				for (const stamp of stampsIn(block.subarray(0, bytesRead), at)) progress.stamps.add(stamp);
				at += bytesRead;
				progress.count += bytesRead;
			}
			return;
		}
		case "write": {
			const content = stamped(order.from + order.bytes, order.stamp);
			for (let at = order.from; at < content.length;) {
				const { bytesWritten } = await calls.write(
					order.file,
					content,
					at,
					Math.min(blockBytes, content.length - at),
					at,
				);
				at += bytesWritten;
				progress.count += bytesWritten;
			}
			return;
		}
		case "fsync":
		case "close":
			await calls[order.kind](order.file);
			return;
		case "list":
			progress.count = (await readdir(order.path)).length;
			return;
		case "stat":
			await stat(order.path);
			return;
		default:
			order satisfies never;
	}
}

/** libuv has no name for some of them. */
function nameOf(thrown: unknown): string {
	const { errno = 0 } = thrown as NodeJS.ErrnoException;
	return Object.entries(constants.errno).find(([, number]) => number === -errno)?.[0] ?? String(thrown);
}
