import type { StaticCredentials } from "./object-store.ts";

/** The identity that the pod's environment gives. */
export function credentialChain(variables: NodeJS.ProcessEnv): () => Promise<StaticCredentials> {
	return async () => {
		const {
			AWS_ACCESS_KEY_ID: accessKeyId,
			AWS_SECRET_ACCESS_KEY: secretAccessKey,
			AWS_SESSION_TOKEN: sessionToken,
		} = variables;
		if (accessKeyId === undefined || secretAccessKey === undefined) throw new Error("the pod has no AWS identity");
		return { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) };
	};
}
