/* Runs a fuzz target over every file of its corpus, so that what fuzzing once found stays found in the ordinary suite. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1024 * 1024)

static int run_file(const char *dir, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return 0;
    /* Of exactly the input's size, so that the sanitizer sees a read beyond its end. */
    uint8_t *all = malloc(INPUT_MAX);
    size_t n = fread(all, 1, INPUT_MAX, file);
    fclose(file);
    uint8_t *data = realloc(all, n ? n : 1);
    LLVMFuzzerTestOneInput(data, n);
    free(data);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS-DIR\n", argv[0]);
        return 2;
    }
    DIR *dir = opendir(argv[1]);
    if (!dir) {
        perror(argv[1]);
        return 1;
    }
    int files = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            files += run_file(argv[1], entry->d_name);
    closedir(dir);
    printf("%d inputs\n", files);
    return files ? 0 : 1;
}
