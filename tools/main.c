#include "tincan/base/secret.h"
#include "tools/tool.h"

#include <locale.h>

int main(int argc, char **argv) {
    setlocale(LC_ALL, "");
    ipop_secret_init();
    return ipop_tool_run(argc, argv, stdout, stderr);
}
