export type { HeldImage, ImageCatalogue, ImageUse, ImageWanted } from './image-catalogue.ts';
