import fs from "node:fs";
import type { ReplyOrder, ReplyReport } from "./far-replies.ts";

/** Answers the kernel as it is told. */
export function serveReply({ id, fd, header, views }: ReplyOrder, post: (report: ReplyReport) => void): void {
	let code: string | undefined;
	try {
		fs.writevSync(fd, [header, ...views]);
	} catch (error) {
		code = (error as NodeJS.ErrnoException).code ?? String(error);
	}
	post({ to: "far-replies", id, code });
}
