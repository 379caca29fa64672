/** UDP port on which original agents answer discovery. */
export const discoveryPortDefault = 2333;
/** UDP port that original clients ask from; agents answer to wherever a request came from. */
export const discoveryClientPortDefault = 2334;
/** TCP port on which original agents take jobs. */
export const jobPortDefault = 2335;

/** The whole datagram with which clients ask. */
export const discoveryRequestText = 'Slaves, show yourselves!';
/** Tag of the protocol's own messages. A client takes any of an agent's as "results follow". */
export const internalTag = 'Internal';
/** The first message of a client. */
export const acquireText = 'You are mine now!';
/** What an agent says before the results. */
export const finishedText = 'Job finished correctly';
/** What an agent says, with no tag around it, when the client had the job stopped. */
export const stoppedText = 'Error running job';
/** How a client cancels. */
export const stopText = 'Stop';

/** The most bytes of a file: sizes are signed integers of 32 bits at both ends. */
export const fileSizeBytesMax = 2_147_483_647;
